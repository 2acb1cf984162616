"""From the statistics table to what a diagnosis reads: each trial at step 0 and at its last recorded step. L layers."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

KEYS = ("trial", "step", "layer", "depth")
VALUES = ("error_signal_norm", "gradient_norm", "activation_sample_std", "saturation_fraction", "eps_dominance")
COLUMNS = (*KEYS, *VALUES)
"""What of the statistics a diagnosis needs, at step 0 and at the last step; more rows and columns do no harm."""


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
    end: Moment


def courses(statistics: pa.Table | None) -> dict[int, Course]:
    """The first and last moment of every trial that has recorded any.

    Args:
        statistics: rows in any order; columns beyond KEYS and the error signal may be missing and count as not applicable.
    """
    table = statistics.filter(pc.is_valid(statistics["error_signal_norm"])) if statistics is not None else None
    if table is None or not table.num_rows:
        return {}
    trial, step, depth = (table[name].to_numpy() for name in ("trial", "step", "depth"))
    layer = table["layer"].cast(pa.string()).to_numpy()
    missing = np.full(len(trial), np.nan)
    values = {name: table[name].to_numpy() if name in table.column_names else missing for name in VALUES}

    def moment(rows: NDArray[np.int64]) -> Moment:
        own = {name: column[rows].astype(np.float64) for name, column in values.items()}
        return Moment(int(step[rows[0]]), tuple(layer[rows]), depth[rows].astype(np.float64), own)

    order = np.lexsort((depth, step, trial))
    trials, starts = np.unique(trial[order], return_index=True)
    found = {}
    for number, rows in zip(trials.tolist(), np.split(order, starts[1:]), strict=True):
        steps = step[rows]
        start = rows[steps == 0]
        found[number] = Course(moment(start) if len(start) else None, moment(rows[steps == steps[-1]]))
    return found
