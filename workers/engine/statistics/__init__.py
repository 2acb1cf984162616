"""The statistics, a function a group, in the order of the contract's table. All return float64 [L, T] by column."""

from workers.engine.statistics.backward import Samples, Signal, backward
from workers.engine.statistics.forward import Activity, forward
from workers.engine.statistics.update import update, update_columns

__all__ = [
    "Activity",
    "Samples",
    "Signal",
    "backward",
    "forward",
    "update",
    "update_columns",
]
