"""A report as large as they are promised to be: a hundred layers, 64 points, twelve arms, from numbers made up rather than trained."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from analysis_samples import ended, trials_of

from service.report import document
from service.report.material import COLUMNS, gather
from workers.analysis.protocol import first_round, next_round
from workers.analysis.result import build_result
from workers.contract.comparison import ComparisonSpec
from workers.contract.results import Comparison, Progress
from workers.store.comparisons import TrialRecord

ARMS = ("sgd", "adam", "adamw", "rmsprop", "rprop", "signum", "signsgd", "lion", "smorms3", "vsgd_fd", "lars", "lamb")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def large_report(depth: int = 99, points: int = 64, seeds: int = 2) -> document.Report:
    """All sections filled: zeros and infinities in the maps, one trial diverged, verdicts of several kinds."""
    spec = ComparisonSpec.model_validate(
        {
            "name": "a hundred layers & twelve <arms>",
            "problem": "digits",
            "network": {"kind": "mlp", "depth": depth, "width": 64, "activation": "sigmoid"},
            "optimizers": list(ARMS),
            "tuning": {"points": 3, "decades": 2, "seeds": 1},
            "seeds": seeds,
            "steps": 1000,
            "record": {"points": points},
        }
    )
    draw = np.random.default_rng(0)
    trials = [ended(trial, float(draw.uniform(0.2, 2.3))) for trial in trials_of(first_round(spec))]
    trials += [
        ended(trial, None if place == 3 else float(draw.uniform(0.2, 2.3)))
        for place, trial in enumerate(trials_of(next_round(spec, 0, trials)))
    ]
    steps = spec.record.steps(spec.steps)
    layers = [*(f"hidden.{place}.linear" for place in range(depth)), "output"]
    told = [trial for trial in trials if trial.role == "final"]
    statistics = _statistics([trial.trial for trial in told], steps, layers, draw)
    curves = _curves([trial.trial for trial in told], steps, draw)
    result = build_result(spec, trials, curves, statistics)
    records = [
        TrialRecord(
            **{name: getattr(trial, name) for name in TrialRecord.__dataclass_fields__ if hasattr(trial, name)},
            job_id="0",
            divergence=None,
        )
        for trial in trials
    ]
    comparison = Comparison(
        id="0123",
        name=spec.name,
        status="succeeded",
        progress=Progress(steps_done=1, steps_total=1, trials=len(trials)),
        created_at=MOMENT,
        spec=spec.model_dump(mode="json"),
        result=result,
        links={"self": "/v1/comparisons/0123"},
    )
    batches = statistics.select([*COLUMNS]).to_batches()
    workers = [document.Workers("2.13.0", "a processor")]
    return document.report(comparison, gather(spec, result, records, curves, batches), workers, MOMENT)


def _statistics(trials: list[int], steps: list[int], layers: list[str], draw: np.random.Generator) -> pa.Table:
    """Signals that fall by a tenth of a decade to a whole one a layer, with noise on them, so that nothing packs too well."""
    rows = len(trials) * len(steps) * len(layers)
    depth = np.tile(np.arange(len(layers)), len(trials) * len(steps))
    trial = np.repeat(trials, len(steps) * len(layers))
    rate = (1 + trial % 10) / 10
    decades = -(len(layers) - 1 - depth) * rate + draw.normal(0, 0.3, rows)
    signal = 10.0**decades
    signal[decades < -80] = 0.0
    signal[draw.uniform(size=rows) < 1e-3] = np.inf
    share = draw.uniform(size=rows)
    step = np.tile(np.repeat(steps, len(layers)), len(trials))
    return pa.table(
        {
            "trial": trial,
            "step": step,
            "layer": np.tile(layers, len(trials) * len(steps)),
            "depth": depth.astype(np.int64),
            "error_signal_norm": signal,
            "gradient_norm": signal * 3,
            "update_to_weight_ratio": pa.array(10 ** draw.normal(-3, 1, rows), mask=step == max(steps)),
            "saturation_fraction": share,
            "sign_flip_rate": draw.uniform(size=rows),
            "activation_mean": share,
            "activation_std": share + 0.1,
            "activation_sample_std": share * 0.1 + 0.01,
            "dead_fraction": np.zeros(rows),
        }
    )


def _curves(trials: list[int], steps: list[int], draw: np.random.Generator) -> pa.Table:
    rows = len(trials) * len(steps)
    step = np.tile(steps, len(trials))
    loss = 2.3 * np.exp(-step / 300) + draw.uniform(0.01, 0.1, rows)
    return pa.table(
        {
            "trial": np.repeat(trials, len(steps)),
            "step": step,
            "train_loss": loss,
            "validation_loss": loss + 0.05,
            "train_accuracy": np.clip(1 - loss / 2.3, 0, 1),
            "validation_accuracy": np.clip(1 - loss / 2.3, 0, 1),
        }
    )
