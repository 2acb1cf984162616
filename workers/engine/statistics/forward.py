"""Statistics of the activations. L layers, T trials, B samples, U units; a, z are [T, B, U]. Results are float64 [L, T].

Deviations are taken in two passes: where the images of all samples have collapsed together they are many decades
below the mean, and E[a²] − E[a]² would be rounding noise.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.contract.statistics import Pass
from workers.engine.activations import NonLinearity
from workers.engine.scaling import joined, norm_, pieces
from workers.engine.statistics.counting import count, numbers, stacked

RAW = ("activation_mean", "sample_deviation", "unit_deviation", "saturated", "slope_sum", "dead")
SATURATED = 0.1
"""Share of max |θ′| below which a unit counts as saturated on a sample."""
DEAD = 1e-6
"""|θ′| below which, on every sample, a unit counts as dead."""


class Activity(NamedTuple):
    """What a layer's units did on the last batch."""

    non_linearity: NonLinearity
    z: Tensor
    """[T, B, ...]"""
    a: Tensor


def forward(activities: Sequence[Activity], passes: Collection[Pass]) -> dict[str, Tensor]:
    """All columns of the group `forward`; those that need other passes are NaN."""
    found = [_of_layer(activity, passes) for activity in activities]
    raw = stacked(found)
    raw = dict.fromkeys(RAW, torch.full_like(raw["nothing"], torch.nan)) | raw
    return forward_columns(raw, [activity.z[0, 0].numel() for activity in activities], activities[0].z.shape[1])


def forward_columns(raw: Mapping[str, Tensor], units: Sequence[int], samples: int) -> dict[str, Tensor]:
    """The columns from sums over each layer's units and samples; NaN where a pre-activation is not finite, for comparisons
    with NaN read as zero.

    Args:
        raw: float64 [L, T]: `nothing` (0, or NaN where a z is not finite), `activation_mean`; `sample_deviation`, the norm of a
            less its unit's mean, `unit_deviation`, that of the units' means less their mean; `saturated`, how many; `slope_sum`
            Σ |θ′|; `dead`, how many units.
        units: of each layer.
    """  # fmt: skip
    u = numbers(units, raw["nothing"].device)
    within, across = raw["sample_deviation"] / (samples * u).sqrt(), raw["unit_deviation"] / u.sqrt()
    columns = {
        "activation_mean": raw["activation_mean"],
        "activation_std": torch.hypot(within, across),
        "activation_sample_std": within,
        "saturation_fraction": raw["saturated"] / (samples * u),
        "derivative_mean": raw["slope_sum"] / (samples * u),
        "dead_fraction": raw["dead"] / u,
    }
    unknown = raw["nothing"] * 0
    return {name: column + unknown for name, column in columns.items()}


def _of_layer(activity: Activity, passes: Collection[Pass]) -> dict[str, Tensor]:
    """[T] each."""
    found = [_of_rows(each, passes) for each in _by_rows(activity)]
    return {name: joined([own[name] for own in found]) for name in found[0]}


def _by_rows(activity: Activity) -> Iterable[Activity]:
    """As many trials at a time as fit the cache, units side by side. Constants that are learned are one tensor for all trials."""
    theta, z, a = activity
    parts = [(z, a)] if isinstance(theta.steepest, Tensor) else pieces(z, a)
    return (Activity(theta, z.flatten(2), a.flatten(2)) for z, a in parts)


def _of_rows(activity: Activity, passes: Collection[Pass]) -> dict[str, Tensor]:
    non_linearity, z, a = activity
    rows = z.flatten(1)
    # times zero, so that no finite numbers add up to infinity
    found = {"nothing": torch.mv(rows, rows.new_zeros(rows.shape[1]))}
    if "activation" in passes:
        found |= _values(a)
    if "slope" in passes:
        found |= _slopes(non_linearity, z, a)
    return found


def _values(a: Tensor) -> dict[str, Tensor]:
    mean_of_unit = a.mean(1, keepdim=True)
    mean = mean_of_unit.mean(2, keepdim=True)
    return {
        "activation_mean": mean.flatten(),
        "sample_deviation": norm_(a - mean_of_unit),
        "unit_deviation": norm_(mean_of_unit - mean),
    }


def _slopes(non_linearity: NonLinearity, z: Tensor, a: Tensor) -> dict[str, Tensor]:
    slope = non_linearity.derivative(z, a).abs_()
    found = {"slope_sum": slope.flatten(1).sum(1), "dead": count(torch.lt, slope.amax(1), DEAD)}
    return found | {"saturated": slope.lt_(SATURATED * non_linearity.steepest).flatten(1).sum(1)}
