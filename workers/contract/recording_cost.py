"""How long recording takes beside the steps, from the shapes alone: evaluations for the curves, and statistics in torch. T trials, B
samples, N samples of a Jacobian, K outputs, O/I outputs/inputs of a layer.

In compiled code statistics of every step are a small part of the step and are not counted; a step at which a group is measured that is not
of every step is one of torch, as the engine takes it. Calls of torch and what they go over were counted in the engine's functions
(statistics/, jacobian.py, gauss_newton.py), seconds of both measured on two cores: within a factor of 1.5 for each group, on networks of
3 to 20 layers of 16 to 256 units, 1 to 16 trials. `benchmarks.step_estimates` holds them against training.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import ceil, prod
from typing import NamedTuple

from workers.contract import cost
from workers.contract.cost import Work
from workers.contract.layers import Activation, Dropout, Flatten, Linear, Unflatten
from workers.contract.plan import CURVE_POINTS
from workers.contract.shapes import ExpandedLayer, walk
from workers.contract.statistics import (
    DEFAULT_INTERVALS,
    OCCASIONAL,
    STATISTICS,
    Group,
    Occasional,
    samples_of_jacobian,
)

CALL_SECONDS = 2.8e-6
"""Of one call of torch, however small."""
NUMBER = 16.0
"""Operations for each number that a call goes over."""
DOUBLE = 2.0
"""Times as much for numbers of float64."""
THIN = 3.5
"""Times as much for products of a matrix with a few vectors, which wait for memory."""
LANCZOS = 16
"""Steps of Lanczos' method, two products each."""
GRAM = 1800.0
"""Operations for each number of the curvature's [N·K, N·K] products between samples: made, and gone over in each step of Lanczos'."""


class Calls(NamedTuple):
    """Of torch at a step at which a group is measured."""

    once: float
    each: float
    """For each layer of weights."""
    parameters: float
    """Times that it goes over a layer's parameters …"""
    numbers: float
    """… and over what a layer gives for a batch."""


CALLS: dict[Group, Calls] = {
    "backward": Calls(0, 80, 23, 17),
    "forward": Calls(0, 60, 0, 16),
    "update": Calls(0, 40, 14, 0),
    "trajectory": Calls(0, 38, 20, 0),
    "noise": Calls(0, 157, 10, 18),
    "histogram": Calls(400, 4, 56, 0),
    "units": Calls(0, 64, 0, 25),
    "rank": Calls(0, 68, 8, 8),
    "jacobian": Calls(930, 20, 2, 0),
    "curvature": Calls(0, 437, 2, 0),
}


def _of_noise(layer: ExpandedLayer, batch: int, outputs: int) -> float:
    """Three products of the batch with the parameters."""
    return cost.PRODUCTS * 6 * batch * layer.own_parameters


def _of_rank(layer: ExpandedLayer, batch: int, outputs: int) -> float:
    """The smaller of MMᵀ and MᵀM, of activations and of the gradient."""
    units, inputs = prod(layer.out_shape), layer.own_parameters / layer.out_shape[-1]
    return 2 * batch * units * min(batch, units) + 2 * layer.own_parameters * min(inputs, layer.out_shape[-1])


def _of_jacobian(layer: ExpandedLayer, batch: int, outputs: int) -> float:
    """N·K rows down through the layer, and N vectors back and forth through it for its own largest singular value."""
    samples = min(batch, samples_of_jacobian(outputs, "jacobian"))
    products = 2 * layer.own_parameters * (samples * outputs + 2 * LANCZOS * samples)
    return DOUBLE * (THIN * products + 12 * NUMBER * samples * outputs * layer.in_shape[-1])


def _of_curvature(layer: ExpandedLayer, batch: int, outputs: int) -> float:
    """N·K rows down through the layer, and the products of each with all others."""
    rows = outputs * min(batch, samples_of_jacobian(outputs, "curvature"))
    products = 2 * layer.own_parameters * rows + 2 * rows**2 * layer.out_shape[-1]
    return DOUBLE * (2 * products + 5 * NUMBER * rows * layer.in_shape[-1]) + GRAM * rows**2


PRODUCTS: dict[Group, Callable[[ExpandedLayer, int, int], float]] = {
    "noise": _of_noise,
    "rank": _of_rank,
    "jacobian": _of_jacobian,
    "curvature": _of_curvature,
}
"""Operations of the products of a layer of one trial: (layer, B, K)."""
THROUGH = (Linear, Activation, Dropout, Flatten, Unflatten)
"""Layers that Jacobians go through; where there is another those groups are null, and cost nothing."""


def recording(
    network: Sequence[ExpandedLayer],
    batch_size: int,
    trials: int,
    *,
    recorded: int,
    evaluated: int,
    statistics: Collection[str],
    intervals: Mapping[Occasional, int],
    compiled: bool,
    threads: int,
) -> Work:
    """Of all that is recorded of a shard from its first step to its last.

    Args:
        recorded: number of recorded steps.
        evaluated: samples of the splits that the curves are over.
        statistics: what is recorded.
        intervals: every how many recorded steps a group is measured, where it is not as by default.
        compiled: whether the steps run in compiled code; else in torch.
        threads: of the machine.
    """
    forward = cost.forward_operations(network, compiled=compiled)
    curves = trials * min(recorded, CURVE_POINTS) * evaluated * forward
    every = DEFAULT_INTERVALS | dict(intervals)
    groups = {STATISTICS[name].group for name in statistics}
    times: dict[Group, int] = {group: ceil(recorded / every[group]) for group in OCCASIONAL if group in groups}
    by_torch = max(times.values(), default=0) if compiled else recorded
    times |= {group: by_torch for group in groups if group not in OCCASIONAL}
    taken = [(count, measuring(group, network, batch_size)) for group, count in times.items()]
    if compiled:
        taken.append((by_torch, cost.torch_step(network, batch_size)))
    operations = trials * sum(count * work.operations for count, work in taken)
    seconds = sum(count * work.seconds for count, work in taken)
    if compiled:  # curves are, too; what torch measures is on all threads
        by_torch_work = cost.programs_of(trials, network, batch_size, threads).work(operations, seconds, threads)
        return by_torch_work._replace(operations=curves + by_torch_work.operations)
    return cost.in_torch(trials, network, batch_size, threads).work(curves + operations, seconds, threads)


def measuring(group: Group, network: Sequence[ExpandedLayer], batch_size: int) -> Work:
    """Of a group at one step: operations of a trial, and seconds of a program, whatever its trials."""
    layers = [layer for layer in walk(network) if layer.depth is not None]
    if group in ("jacobian", "curvature") and not _known(network):
        return Work(0.0, 0.0)
    calls, outputs = CALLS[group], prod(layers[-1].out_shape)
    products = PRODUCTS.get(group)
    operations = sum(
        NUMBER * (calls.parameters * layer.own_parameters + calls.numbers * batch_size * prod(layer.out_shape))
        + (products(layer, batch_size, outputs) if products else 0.0)
        for layer in layers
    )
    return Work(operations, CALL_SECONDS * (calls.once + calls.each * len(layers)))


def _known(network: Sequence[ExpandedLayer]) -> bool:
    of_features = all(len(layer.in_shape) == 1 for layer in network if isinstance(layer.spec, Linear))
    return of_features and all(isinstance(layer.spec, THROUGH) for layer in network)
