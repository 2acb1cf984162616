"""Statistics of the activations. T trials, B samples, U units; a, z are [T, B, U].

Deviations are taken in two passes: where the images of all samples have collapsed together they are many decades
below the mean, and E[a²] − E[a]² would be rounding noise. They are squared in float64: float32 loses those below 1e-19.
"""

import math

import torch
from torch import Tensor
from torch.linalg import vector_norm

from workers.engine.activations import NonLinearity

SATURATED = 0.1
"""Share of max |θ′| below which a unit counts as saturated on a sample."""
DEAD = 1e-6
"""|θ′| below which, on every sample, a unit counts as dead."""


def forward(non_linearity: NonLinearity, z: Tensor, a: Tensor) -> dict[str, Tensor]:
    """All columns of the group `forward`."""
    samples, units = z.shape[1], z.shape[2]
    mean_of_unit = a.mean(1, keepdim=True)
    mean = mean_of_unit.mean(2, keepdim=True)
    over_samples = vector_norm(a - mean_of_unit, dim=(1, 2), dtype=torch.float64) / math.sqrt(samples * units)
    over_units = vector_norm(mean_of_unit - mean, dim=(1, 2), dtype=torch.float64) / math.sqrt(units)
    slope = non_linearity.derivative(z, a).abs_()
    return {
        "activation_mean": mean.flatten().double(),
        "activation_std": torch.hypot(over_samples, over_units),
        "activation_sample_std": over_samples,
        "saturation_fraction": (slope < SATURATED * non_linearity.steepest).sum((1, 2)).double() / (samples * units),
        "derivative_mean": slope.mean((1, 2)).double(),
        "dead_fraction": (slope.amax(1) < DEAD).sum(1).double() / units,
    }


def finite_only(columns: dict[str, Tensor], z: Tensor) -> dict[str, Tensor]:
    """Comparisons with NaN are false and would read as zero: say NaN where a pre-activation is not finite."""
    finite = torch.isfinite(z.mul(0).flatten(1).sum(1))  # times zero, so that no finite numbers add up to infinity
    return {name: torch.where(finite, column, torch.nan) for name, column in columns.items()}
