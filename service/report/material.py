"""The numbers of each arm that a report shows: its curves, and its statistics by layer and step. T trials, L layers, S steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from service.report.charts import Numbers
from service.report.names import named
from workers.analysis.selection import identity
from workers.analysis.uncertainty import iqm
from workers.contract.comparison import ComparisonSpec
from workers.contract.results import Arm, Result
from workers.store.comparisons import TrialRecord

LOGARITHMIC = ("error_signal_norm", "gradient_norm", "update_to_weight_ratio")
SHARES = ("saturation_fraction", "sign_flip_rate")
COLUMNS = ("trial", "step", "layer", "depth", *LOGARITHMIC, *SHARES)
"""What of the statistics a report reads."""

METRICS = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")


@dataclass(frozen=True)
class Curve:
    """A metric over the trials of an arm."""

    steps: Numbers
    middle: Numbers
    """[S] interquartile mean; NaN where it is infinite."""
    low: Numbers
    high: Numbers
    """[S] the lowest and the highest finite value."""


@dataclass
class ArmMaterial:
    name: str
    arm: Arm
    trials: list[int]
    """Those of the chosen setting on the seeds to report; of the tuning round as long as there are no others."""
    diverged: set[int]
    curves: dict[str, Curve] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    """[L] from the input upwards."""
    depths: list[int] = field(default_factory=list)
    statistics: dict[str, Numbers] = field(default_factory=dict)
    """[L, S] the median over trials by name, of log₁₀ where the statistic is a magnitude; see `charts.Map.values`."""


@dataclass(frozen=True)
class Material:
    spec: ComparisonSpec
    result: Result
    arms: list[ArmMaterial]
    """By rank."""


def gather(
    spec: ComparisonSpec,
    result: Result,
    trials: Sequence[TrialRecord],
    curves: pa.Table,
    statistics: Iterable[pa.RecordBatch],
) -> Material:
    """Args: trials, curves (`trial`, `step` and metrics) and statistics (COLUMNS, any rows) of the whole comparison."""
    arms = [_arm(arm, trials, named(arm, result)) for arm in result.arms]
    wanted = pa.array(sorted({trial for arm in arms for trial in arm.trials}), pa.int64())
    kept = [_among(pa.Table.from_batches([batch]), wanted) for batch in statistics]
    rows = pa.concat_tables(kept).combine_chunks() if kept else None
    for arm in arms:
        _add_curves(arm, curves)
        if rows is not None:
            _add_statistics(arm, rows)
    return Material(spec, result, arms)


def _arm(arm: Arm, trials: Sequence[TrialRecord], name: str) -> ArmMaterial:
    setting = identity(arm.hyperparameters)
    alike = [
        trial
        for trial in trials
        if (trial.variant, trial.optimizer) == (arm.variant, arm.optimizer)
        and (
            trial.problem == arm.problem or "" in (trial.problem, arm.problem)
        )  # of older records there is one problem
        and identity(trial.hyperparameters) == setting
    ]
    chosen = [trial for trial in alike if trial.role != "tuning"] or alike
    return ArmMaterial(
        name=name,
        arm=arm,
        trials=[trial.trial for trial in chosen],
        diverged={trial.trial for trial in chosen if trial.outcome == "diverged"},
    )


def _among(table: pa.Table, trials: pa.Array) -> pa.Table:
    found = table.select(COLUMNS)
    mask = np.isin(found["trial"].to_numpy(), trials.to_numpy())
    found = found.filter(pa.array(mask))
    return found.set_column(found.column_names.index("layer"), "layer", found["layer"].cast(pa.string()))


def _add_curves(arm: ArmMaterial, curves: pa.Table) -> None:
    """A diverged trial counts as infinitely bad from where its curve ends, as in the ranking."""
    if not curves.num_rows:
        return
    own = np.isin(curves["trial"].to_numpy(), arm.trials)
    if not own.any():
        return
    trial, trial_at = np.unique(curves["trial"].to_numpy()[own], return_inverse=True)
    steps, step_at = np.unique(curves["step"].to_numpy()[own], return_inverse=True)
    for metric in METRICS:
        column = curves[metric]
        if column.null_count == len(column):
            continue
        worst = 0.0 if metric.endswith("accuracy") else np.inf
        values = np.full((len(steps), len(trial)), np.nan)
        values[step_at, trial_at] = column.to_numpy()[own]
        gone = np.isin(trial, list(arm.diverged))
        values[:, gone] = np.where(np.isnan(values[:, gone]), worst, values[:, gone])
        there = ~np.isnan(values).any(1)  # a running trial has no value yet at steps that others have made
        if there.any():
            found = values[there]
            finite = np.isfinite(found)
            middle = iqm(found)
            arm.curves[metric] = Curve(
                steps[there].astype(np.float64),
                np.where(np.isfinite(middle), middle, np.nan),
                np.where(finite.any(1), np.where(finite, found, np.inf).min(1), np.nan),
                np.where(finite.any(1), np.where(finite, found, -np.inf).max(1), np.nan),
            )


def _add_statistics(arm: ArmMaterial, rows: pa.Table) -> None:
    own = rows.filter(pa.array(np.isin(rows["trial"].to_numpy(), arm.trials)))
    if not own.num_rows:
        return
    trials, trial_at = np.unique(own["trial"].to_numpy(), return_inverse=True)
    steps, step_at = np.unique(own["step"].to_numpy(), return_inverse=True)
    depths, first, depth_at = np.unique(own["depth"].to_numpy(), return_index=True, return_inverse=True)
    layers = own["layer"].to_numpy()
    arm.steps, arm.depths = steps.tolist(), depths.tolist()
    arm.layers = [str(layers[place]) for place in first]
    for name in (*LOGARITHMIC, *SHARES):
        cube = np.full((len(trials), len(depths), len(steps)), np.nan)
        cube[trial_at, depth_at, step_at] = _told(own[name], logarithmic=name in LOGARITHMIC)
        arm.statistics[name] = median(cube)


def _told(column: pa.ChunkedArray, *, logarithmic: bool) -> Numbers:
    """Null is NaN, nothing recorded; what is not finite is +∞; the logarithm of zero is −∞."""
    values = column.to_numpy().astype(np.float64)
    recorded = ~column.is_null().to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log10(values) if logarithmic else values
    broken = recorded & ~np.isfinite(values)
    return np.asarray(np.where(broken, np.inf, np.where(recorded, found, np.nan)), np.float64)


def median(cube: Numbers) -> Numbers:
    """Over the first axis, NaN left aside; NaN where there is nothing else, or where half are +∞ and half −∞."""
    ordered = np.sort(cube, axis=0)  # NaN comes last
    count = (~np.isnan(cube)).sum(0)
    lower, upper = np.maximum(count - 1, 0) // 2, count // 2
    upper = np.minimum(upper, len(cube) - 1)
    low = np.take_along_axis(ordered, lower[None], 0)[0]
    high = np.take_along_axis(ordered, upper[None], 0)[0]
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.where(low == high, low, (low + high) / 2), np.nan)
