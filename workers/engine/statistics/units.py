"""What single units and samples do in a layer. T trials, B samples, U units; results float64 [T]."""

from functools import cache

import torch
from torch import Tensor

from workers.engine.activations import NonLinearity
from workers.engine.scaling import dot, in_range, peaks
from workers.engine.statistics.counting import count
from workers.engine.statistics.forward import SATURATED, Activity

MOSTLY = 0.9
"""Share of the samples on which a unit is saturated that counts as saturated."""


def units(activity: Activity) -> dict[str, Tensor]:
    """Of one layer; NaN where a pre-activation is not finite."""
    theta = activity.non_linearity
    z, a = activity.z.flatten(2), activity.a.flatten(2)
    flat = (theta.derivative(z, a).abs_() < SATURATED * theta.steepest).to(z.dtype)
    found = {
        "activation_correlation": correlation(a),
        "saturated_unit_fraction": count(torch.ge, flat.mean(1), MOSTLY).double() / z.shape[2],
        "flat_top_fraction": _on_top(theta, z, flat).double(),
    }
    finite = torch.isfinite((z * 0).flatten(1).sum(1))
    return {name: torch.where(finite, column, torch.nan) for name, column in found.items()}


def correlation(a: Tensor) -> Tensor:
    """Mean correlation, over the units, of two different samples' activations [T, B, U]; NaN where one's do not differ from unit to unit.

    1 − B/(B − 1)·mean ‖u_b − ū‖², with u_b a sample's deviations from its mean, at length 1: where all samples look alike, a sum of
    products would be rounding.
    """
    scaled, _ = in_range([a], peaks([a]))
    direction = next(scaled)
    direction = direction - direction.mean(2, keepdim=True)
    direction = direction / dot(direction, direction).sqrt()[..., None]
    apart = direction - direction.mean(1, keepdim=True)
    samples = a.shape[1]
    return 1 - dot(apart, apart).double().mean(1) * samples / (samples - 1)


def _on_top(theta: NonLinearity, z: Tensor, flat: Tensor) -> Tensor:
    """Share of (sample, unit) that is saturated between the places where θ is steepest, not beyond; NaN where they are not known."""
    if isinstance(theta.steepest, Tensor):
        return z.new_full((len(z),), torch.nan)
    below, above = between(theta)
    return (flat * (z > below) * (z < above)).flatten(1).mean(1)


@cache
def between(theta: NonLinearity) -> tuple[float, float]:
    """The outermost places, |z| ≤ 10, where |θ′| is largest: ∓√½ of exp(−z²), 0 and 0 of a sigmoid."""
    z = torch.linspace(-10, 10, 20001, dtype=torch.float64)
    slope = theta.derivative(z, theta.value(z)).abs()
    steep = z[slope >= (1 - 1e-6) * slope.max()]
    return float(steep[0]), float(steep[-1])
