"""Statistics of the activations. L layers, T trials, B samples, U units; a, z are [T, B, U]. Results are float64 [L, T].

Deviations are taken in two passes: where the images of all samples have collapsed together they are many decades
below the mean, and E[a²] − E[a]² would be rounding noise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.engine.activations import NonLinearity
from workers.engine.scaling import norm
from workers.engine.statistics.counting import count

SATURATED = 0.1
"""Share of max |θ′| below which a unit counts as saturated on a sample."""
DEAD = 1e-6
"""|θ′| below which, on every sample, a unit counts as dead."""


class Activity(NamedTuple):
    """What a layer's units did on the last batch."""

    non_linearity: NonLinearity
    z: Tensor
    a: Tensor


def forward(activities: Sequence[Activity]) -> dict[str, Tensor]:
    """All columns of the group `forward`; NaN where a pre-activation is not finite, for comparisons with NaN read as zero."""
    found = [_of_layer(*activity) for activity in activities]
    columns = {name: torch.stack([own[name] for own in found]).double() for name in found[0]}
    finite = torch.isfinite(columns.pop("nothing"))
    across_units = columns.pop("unit_std")
    columns["activation_std"] = torch.hypot(columns["activation_sample_std"], across_units)
    return {name: torch.where(finite, column, torch.nan) for name, column in columns.items()}


def _of_layer(non_linearity: NonLinearity, z: Tensor, a: Tensor) -> dict[str, Tensor]:
    """[T] each."""
    samples, units = z.shape[1], z.shape[2]
    mean_of_unit = a.mean(1, keepdim=True)
    mean = mean_of_unit.mean(2, keepdim=True)
    slope = non_linearity.derivative(z, a).abs_()
    return {
        "nothing": (z * 0).flatten(1).sum(1),  # times zero, so that no finite numbers add up to infinity
        "activation_mean": mean.flatten(),
        "activation_sample_std": norm(a - mean_of_unit) / math.sqrt(samples * units),
        "unit_std": norm(mean_of_unit - mean) / math.sqrt(units),
        "saturation_fraction": count(torch.lt, slope, SATURATED * non_linearity.steepest) / (samples * units),
        "derivative_mean": slope.flatten(1).mean(1),
        "dead_fraction": count(torch.lt, slope.amax(1), DEAD) / units,
    }
