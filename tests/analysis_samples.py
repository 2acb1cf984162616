"""Trials, curves and statistics for tests of the analysis, made up rather than trained."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from workers.analysis.protocol import PlannedRound, TrialScore, first_round, next_round
from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Trial

LAYERS = ("hidden.0.linear", "hidden.1.linear", "hidden.2.linear", "output")

Losses = Callable[[Trial], float | None]
"""Loss of a trial, test and validation alike; None if it diverged."""


def comparison(*optimizers: Any, **fields: Any) -> ComparisonSpec:
    """A spec on wine, three hidden layers."""
    body = {"problem": "wine", "network": {"kind": "mlp", "depth": 3, "width": 4}, "optimizers": list(optimizers)}
    return ComparisonSpec.model_validate(body | fields)


def ended(trial: Trial, loss: float | None, accuracy: float = 0.9) -> TrialScore:
    """The trial, completed with this loss, or diverged."""
    gone = loss is None
    return TrialScore(
        **trial.model_dump(),
        outcome="diverged" if gone else "completed",
        test_loss=loss,
        test_accuracy=None if gone else accuracy,
        validation_loss=loss,
    )


def trials_of(round_: PlannedRound | None) -> list[Trial]:
    assert round_ is not None
    return [trial for shard in round_.shards for trial in shard.trials]


def run(spec: ComparisonSpec, losses: Losses) -> list[TrialScore]:
    """All rounds of a comparison in which every trial ends with the loss given for it."""
    done: list[TrialScore] = []
    planned: PlannedRound | None = first_round(spec)
    while planned is not None:
        done += [ended(trial, losses(trial)) for trial in trials_of(planned)]
        planned = next_round(spec, planned.number, done)
    return done


def curves(rows: Iterable[tuple[int, int, float]]) -> pa.Table:
    """(trial, step, validation loss); the validation accuracy is one minus the loss."""
    trial, step, loss = zip(*rows, strict=True)
    return pa.table(
        {
            "trial": trial,
            "step": step,
            "train_loss": loss,
            "validation_loss": loss,
            "train_accuracy": [1 - value for value in loss],
            "validation_accuracy": [1 - value for value in loss],
        }
    )


def statistics(rows: Iterable[tuple[int, int, Sequence[float | None]]], **others: Sequence[float]) -> pa.Table:
    """(trial, step, norms of the error signal by layer); other columns by layer, the same in every trial and step."""
    found: dict[str, list[Any]] = {
        name: [] for name in ("trial", "step", "layer", "depth", "error_signal_norm", *others)
    }
    for trial, step, norms in rows:
        for depth, norm in enumerate(norms):
            layer = "output" if depth == len(norms) - 1 else f"hidden.{depth}.linear"
            values = {"trial": trial, "step": step, "layer": layer, "depth": depth, "error_signal_norm": norm}
            for name, value in (values | {name: column[depth] for name, column in others.items()}).items():
                found[name].append(value)
    return pa.table(found, schema=pa.schema([(name, _type(name)) for name in found]))


def _type(name: str) -> pa.DataType:
    return {"trial": pa.int64(), "step": pa.int64(), "depth": pa.int64(), "layer": pa.string()}.get(name, pa.float64())
