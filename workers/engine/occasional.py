"""Statistics that may be measured at fewer steps than are recorded: what each group takes of a program, after a pass forward and, where a
gradient is taken, one backward. A group is a function here; what it computes of tensors is in statistics/. L layers, T trials.
"""

import math
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from workers.contract.statistics import STATISTICS, Occasional, samples_of_jacobian
from workers.engine import jacobian
from workers.engine.gauss_newton import blocks
from workers.engine.optimizers.rule import LayerParameters
from workers.engine.program import Program
from workers.engine.statistics.histogram import histogram, shares_of_weights
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
    told = (trial.hyperparameters.get("lr") for trial in program.trials)
    rates = [rate if isinstance(rate, int | float) else math.nan for rate in told]
    lr, exponents = torch.tensor(rates, dtype=torch.float64, device=program.theta.device), _exponents(program)
    found = [
        noise(samples, exponent, lr, loss.double()) if (samples := place.samples) is not None else {}
        for place, exponent in zip(program.measured, exponents, strict=True)
    ]
    return _joined(program, found)


def of_histogram(program: Program, step: int, loss: Tensor) -> Columns:
    gradients, parameters = program.of_layers(program.gradient), program.of_layers(program.theta)

    def of(places: list[int]) -> Columns:
        g, theta = (_cat([each[place] for place in places]) for each in (gradients, parameters))
        return histogram(g) | shares_of_weights(g, theta)

    return _together(program, [gradient.shape for gradient in gradients], of)


def of_units(program: Program, step: int, loss: Tensor) -> Columns:
    return _joined(program, [units(place.activity) for place in program.measured])


def of_rank(program: Program, step: int, loss: Tensor) -> Columns:
    """Of gradients that of the layer's largest matrix."""
    layers = zip(program.measured, program.layout.layers, strict=True)
    found = [
        {
            "effective_rank": of_activations(place.activity.a),
            "gradient_effective_rank": effective_rank(_largest_matrix(program.gradient, layer)),
        }
        for place, layer in layers
    ]
    return _joined(program, found)


def _largest_matrix(gradient: Tensor, layer: LayerParameters) -> Tensor:
    """[T, n, m] of a layer's gradient [T, P]; all its vectors' elements as one row where there is none."""
    matrices = [part for part in layer.matrices if len(part[1]) == 2]
    columns, shape = max(matrices, key=lambda part: prod(part[1]), default=(layer.columns, (1, -1)))
    matrix: Tensor = gradient[:, columns].unflatten(1, shape)
    return matrix


def of_jacobian(program: Program, step: int, loss: Tensor) -> Columns:
    if not jacobian.known(program):
        return Columns()
    samples = samples_of_jacobian(_outputs(program), "jacobian")
    towers = [(layer, below) for layer, _, below in jacobian.to_output(program, samples)][::-1]
    wholes = [below for _, below in towers]
    weights = [layer.matrix for layer, _ in towers]

    def of_whole(places: list[int]) -> Columns:
        spectrum = jacobian.spectrum(_cat([wholes[place] for place in places]))
        return {f"jacobian_{name}": column for name, column in spectrum._asdict().items()}

    def of_layer(places: list[int]) -> Columns:
        slopes = [jacobian.slope_below(program, towers[place][0], samples) for place in places]
        weight = _cat([weights[place].double() for place in places])
        largest, mean_square = jacobian.between_layers(weight, _cat(slopes))
        return {"layer_jacobian_largest": largest, "layer_jacobian_mean_square": mean_square}

    above_the_first = [weight.shape if place else None for place, weight in enumerate(weights)]
    return _together(program, [one.shape for one in wholes], of_whole) | _together(program, above_the_first, of_layer)


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


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors)) if len(tensors) > 1 else tensors[0]


def _together(program: Program, keys: Sequence[Any], of: Callable[[list[int]], Columns]) -> Columns:
    """Layers with the same key at once, as if they were more trials: worth a copy where numbers are small and calls many.

    Args:
        keys: of each measured layer; None where nothing is known of it.
        of: places of layers -> columns [layers·T], one layer after the other.
    """
    found = [Columns() for _ in keys]
    for key in dict.fromkeys(key for key in keys if key is not None):
        places = [place for place, own in enumerate(keys) if own == key]
        for name, column in of(places).items():
            for place, own in zip(places, column.chunk(len(places)), strict=True):
                found[place][name] = own
    return _joined(program, found)


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
