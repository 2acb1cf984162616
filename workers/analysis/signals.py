"""From the statistics table to what a diagnosis reads: each trial at step 0, early and at its last recorded step. L layers."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workers.contract.comparison import ComparisonSpec
from workers.contract.statistics import STATISTICS

Numbers = NDArray[np.float64]

KEYS = ("trial", "step", "layer", "depth")
GEOMETRIC = ("error_signal_norm", "gradient_norm", "activation_sample_std", "activation_std", "weight_norm")
"""Magnitudes: averages over trials are of their logarithms."""
NUMBERS = (
    "activation_mean",
    "saturation_fraction",
    "saturated_unit_fraction",
    "flat_top_fraction",
    "dead_fraction",
    "gradient_zero_fraction",
    "activation_correlation",
    "gradient_snr",
    "eps_dominance",
)
"""Averages over trials are of the numbers as they are."""
VALUES = tuple(name for name in (*GEOMETRIC, *NUMBERS) if name in STATISTICS)
COLUMNS = (*KEYS, *VALUES)
"""What of the statistics a diagnosis reads, where it was recorded; more rows and columns do no harm."""


class Moment(NamedTuple):
    """One trial at one step, its layers from the input upwards."""

    step: int
    layers: tuple[str, ...]
    depths: Numbers
    """[L]"""
    values: dict[str, Numbers]
    """[L] by name; NaN where a statistic does not apply. The error signal always does: there NaN is a number gone wrong."""


class Course(NamedTuple):
    start: Moment | None
    """None without rows of step 0."""
    early: Moment | None
    """None without rows of that step, and where it is the first or the last."""
    end: Moment


def early_step(recorded: Iterable[int]) -> int:
    """The recorded step nearest √(last step), the middle of a logarithmic axis: by then a regime has changed that will change."""
    steps = list(recorded)
    middle = max(steps) ** 0.5
    return min(steps, key=lambda step: abs(step - middle))


def early_steps(spec: ComparisonSpec) -> dict[str, int]:
    """The early step of each optimizer's trials, by its label."""
    return {optimizer.label: early_step(spec.record.steps(spec.steps_of(optimizer))) for optimizer in spec.optimizers}


def courses(statistics: pa.Table | None, early: Mapping[int, int] = MappingProxyType({})) -> dict[int, Course]:
    """The moments of every trial that has recorded any.

    Args:
        statistics: rows in any order; columns beyond KEYS and the error signal may be missing and count as not applicable.
        early: by trial, the step between the first and the last that is looked at.
    """
    table = statistics.filter(pc.is_valid(statistics["error_signal_norm"])) if statistics is not None else None
    if table is None or not table.num_rows:
        return {}
    trial, step, depth = (table[name].to_numpy() for name in ("trial", "step", "depth"))
    layer = table["layer"].cast(pa.string()).to_numpy()
    missing = np.full(len(trial), np.nan)
    values = {
        name: table[name].to_numpy() if name in table.column_names else missing for name in (*GEOMETRIC, *NUMBERS)
    }

    def moment(rows: NDArray[np.int64]) -> Moment | None:
        if not len(rows):
            return None
        own = {name: column[rows].astype(np.float64) for name, column in values.items()}
        return Moment(int(step[rows[0]]), tuple(layer[rows]), depth[rows].astype(np.float64), own)

    order = np.lexsort((depth, step, trial))
    trials, starts = np.unique(trial[order], return_index=True)
    found = {}
    for number, rows in zip(trials.tolist(), np.split(order, starts[1:]), strict=True):
        steps = step[rows]
        end = moment(rows[steps == steps[-1]])
        assert end is not None, "a trial is there because it has a row"
        middle = early.get(number, 0)
        between = moment(rows[steps == middle]) if 0 < middle < end.step else None
        found[number] = Course(moment(rows[steps == 0]), between, end)
    return found
