"""Statistics that may be measured at fewer steps than are recorded: what each group takes of a program, after a pass forward and, where a
gradient is taken, one backward. A group is a function here; what it computes of tensors is in statistics/. L layers, T trials.
"""

import math
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from workers.contract.statistics import STATISTICS, Occasional, samples_of_jacobian
from workers.engine import jacobian
from workers.engine.gauss_newton import blocks
from workers.engine.program import Program
from workers.engine.statistics.histogram import histogram
from workers.engine.statistics.noise import noise
from workers.engine.statistics.rank import effective_rank, of_activations
from workers.engine.statistics.trajectory import Last, alphas, distances
from workers.engine.statistics.units import units

Columns = dict[str, Tensor]
"""By statistic: float64 [L, T]."""


def of_trajectory(program: Program, step: int, loss: Tensor) -> Columns:
    """What is not recorded may be left out."""
    parameters, found = program.of_layers(program.theta), Columns()
    if program.origin is not None:
        found["distance"] = distances(parameters, program.of_layers(program.origin))
    if program.trail and step:
        exponents = _exponents(program) - program.trail["exponents"]
        last = Last(program.of_layers(program.trail["theta"]), program.of_layers(program.previous), exponents)
        found["alpha"] = alphas(parameters, program.of_layers(program.gradient), last)
    return found


def of_noise(program: Program, step: int, loss: Tensor) -> Columns:
    """Of the layers whose samples' gradients are known; NaN in the others."""
    rates = [float(trial.hyperparameters.get("lr", math.nan)) for trial in program.trials]  # type: ignore[arg-type]
    lr = torch.tensor(rates, dtype=torch.float64, device=program.theta.device)
    found = [
        noise(samples, exponent, lr, loss.double()) if (samples := place.samples) is not None else {}
        for place, exponent in zip(program.measured, _exponents(program), strict=True)
    ]
    return _joined(program, found)


def of_histogram(program: Program, step: int, loss: Tensor) -> Columns:
    return _joined(program, [histogram(g) for g in program.of_layers(program.gradient)])


def of_units(program: Program, step: int, loss: Tensor) -> Columns:
    return _joined(program, [units(place.activity) for place in program.measured])


def of_rank(program: Program, step: int, loss: Tensor) -> Columns:
    """Of gradients that of the layer's largest matrix."""
    found = []
    for place, layer in zip(program.measured, program.layout.layers, strict=True):
        own = {"effective_rank": of_activations(place.activity.a)}
        matrices = [part for part in layer.matrices if len(part[1]) == 2]
        if matrices:
            columns, shape = max(matrices, key=lambda part: prod(part[1]))
            own["gradient_effective_rank"] = effective_rank(program.gradient[:, columns].unflatten(1, shape))
        found.append(own)
    return _joined(program, found)


def of_jacobian(program: Program, step: int, loss: Tensor) -> Columns:
    """From the top down; layers of one shape together, since the numbers are small and many."""
    if not jacobian.known(program):
        return Columns()
    samples = samples_of_jacobian(_outputs(program), "jacobian")
    towers = [(layer, below) for layer, _, below in jacobian.to_output(program, samples)]
    found = [Columns() for _ in towers]
    for places in _alike([whole for _, whole in towers]):
        whole = jacobian.spectrum(torch.stack([towers[place][1] for place in places]))
        for name, column in zip(("largest", "median", "mean_square"), whole, strict=True):
            for place, value in zip(places, column, strict=True):
                found[place][f"jacobian_{name}"] = value
    pairs = [(layer.matrix.double(), jacobian.slope_below(program, layer, samples)) for layer, _ in towers[:-1]]
    for places in _alike([weight for weight, _ in pairs]):
        weight, slope = (torch.cat([pairs[place][part] for place in places]) for part in (0, 1))
        for name, column in zip(("largest", "mean_square"), jacobian.between_layers(weight, slope), strict=True):
            for place, value in zip(places, column.chunk(len(places)), strict=True):
                found[place][f"layer_jacobian_{name}"] = value
    return _joined(program, found[::-1])


def _alike(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Places of tensors of the same shape."""
    found: dict[torch.Size, list[int]] = {}
    for place, tensor in enumerate(tensors):
        found.setdefault(tensor.shape, []).append(place)
    return list(found.values())


def of_curvature(program: Program, step: int, loss: Tensor) -> Columns:
    if not jacobian.known(program):
        return Columns()
    found, samples = [], samples_of_jacobian(_outputs(program), "curvature")
    tops = zip(reversed(program.measured), _exponents(program).flip(0), blocks(program, samples), strict=True)
    for place, exponent, block in tops:
        own = {"curvature_trace": block.trace(), "curvature_largest": block.largest()}
        if program.shard.gradient_taken and (linear := place.dense) is not None:
            batch = linear.error_signal.shape[1]
            delta = linear.error_signal[:, :samples].double() * batch
            delta = delta * torch.exp2(exponent)[:, None, None]
            squares = torch.bmm(delta.square().mT, block.inputs.square()) / delta.shape[1]
            ratio = squares / block.diagonal()
            own["tic_trace"] = squares.sum((1, 2)) / own["curvature_trace"]
            own["tic_diagonal"] = torch.where(squares > 0, ratio, 0.0).sum((1, 2))
        found.append(own)
    return _joined(program, found[::-1])


def _outputs(program: Program) -> int:
    return program.measured[-1].layer.output.shape[2]


def _joined(program: Program, found: Sequence[Columns]) -> Columns:
    """[T] of each layer -> [L, T]; NaN where a layer has none."""
    unknown = torch.full((len(program.trials),), torch.nan, dtype=torch.float64, device=program.theta.device)
    names = {name: None for own in found for name in own}
    return {name: torch.stack([own.get(name, unknown) for own in found]) for name in names}


MEASURES: dict[Occasional, Callable[[Program, int, Tensor], Columns]] = {
    "trajectory": of_trajectory,
    "noise": of_noise,
    "histogram": of_histogram,
    "units": of_units,
    "rank": of_rank,
    "jacobian": of_jacobian,
    "curvature": of_curvature,
}
"""(program, step, its loss [T]) -> what is known of the group's columns; changes nothing."""


def measured_now(program: Program, step: int, loss: Tensor) -> Columns:
    """The columns of the groups of which it is the step, without those that need a gradient where none is taken."""
    known = [name for name, one in STATISTICS.items() if program.shard.gradient_taken or "gradient" not in one.needs]
    groups = {STATISTICS[name].group for name in known}
    found = Columns()
    for group, steps in program.shard.occasional.items():
        if step in steps and group in groups:
            found |= MEASURES[group](program, step, loss)
    return {name: column for name, column in found.items() if name in known}


def remember(program: Program, step: int) -> None:
    """What the next step looks back at, before anything moves."""
    if looked_back_at(program, step):
        program.trail["theta"].copy_(program.theta)
        program.trail["exponents"].copy_(_exponents(program))


def looked_back_at(program: Program, step: int) -> bool:
    return bool(program.trail) and step + 1 in program.shard.occasional["trajectory"]


def alone(program: Program, step: int) -> bool:
    """Whether this step is measured, or remembered, beyond what compiled code does."""
    return looked_back_at(program, step) or any(step in steps for steps in program.shard.occasional.values())


def _exponents(program: Program) -> Tensor:
    """Of the gradient's layers, float64 [L, T]."""
    if program.extended:
        return program.extended.exponents
    return torch.zeros(len(program.columns), len(program.trials), dtype=torch.float64, device=program.theta.device)
