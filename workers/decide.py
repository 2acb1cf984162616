"""The decision that ends a round: which trials were best, what runs next, or what the answer is.

It reads only what commits have recorded, so that a decision repeated after a crash comes out the same.
"""

import dataclasses
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy.exc import DatabaseError

from workers.analysis import signals
from workers.analysis.protocol import TrialScore, next_round
from workers.analysis.result import build_result
from workers.contract.comparison import ComparisonSpec
from workers.contract.results import ENDED
from workers.settings import Settings
from workers.store import artifacts, comparisons, documents, jobs
from workers.store.comparisons import ComparisonRecord, NewRound, TrialRecord
from workers.store.database import Database
from workers.store.jobs import Claim, LostClaim

log = logging.getLogger(__name__)


def decide(db: Database, claim: Claim, settings: Settings) -> None:
    """Closes the claimed round, or answers for a comparison that was stopped; a failure is recorded as such."""
    try:
        with _lease_kept(db, claim, settings.lease_seconds):
            _decide(db, claim, settings)
    except LostClaim:
        log.warning("decision %s attempt %d: another worker has it now", claim.job_id, claim.attempt)
    except Exception as error:  # whatever it is must reach the comparison's record, or it would wait for ever
        log.exception("decision %s attempt %d failed", claim.job_id, claim.attempt)
        message = f"the round could not be evaluated: {type(error).__name__}: {error}"
        try:
            jobs.fail_attempt(db, claim, code="decision_failed", message=message, progressed=False)
            documents.tell(db, settings.artifacts, claim.comparison_id)
        except LostClaim:
            log.warning("decision %s attempt %d: lost before its failure was told", claim.job_id, claim.attempt)


def _decide(db: Database, claim: Claim, settings: Settings) -> None:
    spec = ComparisonSpec.model_validate(claim.spec)
    record = comparisons.find(db, claim.comparison_id)
    if record is None:
        raise LostClaim(claim.job_id)
    trials = comparisons.trials(db, claim.comparison_id)
    curves = artifacts.read_curves(
        settings.artifacts, claim.comparison_id, jobs.parts(db, claim.comparison_id, "curves")
    )
    scores = scored(spec, trials, curves)
    stopped = record.status in ENDED
    planned = None if stopped else next_round(spec, claim.round, scores)
    moments, seconds = _moments(db, claim, settings, spec), _step_seconds(db, claim.comparison_id, spec)
    told = build_result(spec, scores, curves, moments, seconds).model_dump(mode="json")
    if stopped:
        _write_files(db, settings, record, trials, told)
        jobs.store_partial_result(db, claim, told)
        return
    if planned is not None:
        following = NewRound(planned.number, planned.role, planned.shards)
        closed = jobs.close_round(db, claim, result=told, next_round=following, status=None)
    else:
        now = datetime.now(UTC)
        _write_files(db, settings, dataclasses.replace(record, status="succeeded", finished_at=now), trials, told)
        closed = jobs.close_round(db, claim, result=told, next_round=None, status="succeeded", finished_at=now)
    if not closed and (ended := comparisons.find(db, claim.comparison_id)):
        _write_files(db, settings, ended, comparisons.trials(db, claim.comparison_id), told)
        jobs.store_partial_result(db, claim, told)


def scored(spec: ComparisonSpec, trials: list[TrialRecord], curves: pa.Table) -> list[TrialScore]:
    """The trials with their final validation loss: that of the last row of their curves, None where there is none.

    Trials that were recorded before a comparison could have several problems are on the only one.
    """
    last: dict[int, float] = {}
    if curves.num_rows:
        ends = curves.group_by("trial").aggregate([("step", "max")]).rename_columns({"step_max": "step"})
        rows = curves.select(["trial", "step", "validation_loss"]).join(ends, ["trial", "step"], join_type="inner")
        last = dict(zip(rows.column("trial").to_pylist(), rows.column("validation_loss").to_pylist(), strict=True))
    shared = ("trial", "variant", "optimizer", "kind", "hyperparameters", "seed", "role")
    return [
        TrialScore(
            **{name: getattr(record, name) for name in shared},
            problem=record.problem or next(iter(spec.alone)),
            outcome=record.outcome,
            test_loss=record.test_loss,
            test_accuracy=record.test_accuracy,
            validation_loss=last.get(record.trial),
        )
        for record in trials
    ]


def _step_seconds(db: Database, comparison_id: str, spec: ComparisonSpec) -> dict[tuple[str, str, str], float]:
    """By names of problem, variant and optimizer. An arm's reported trials are all in one shard."""
    return {
        (shard.problem or next(iter(spec.alone)), shard.variant, optimizer): seconds
        for shard in comparisons.shards(db, comparison_id)
        for optimizer, seconds in shard.step_seconds.items()
    }


def _moments(db: Database, claim: Claim, settings: Settings, spec: ComparisonSpec) -> pa.Table:
    """The statistics that a diagnosis reads, at step 0, early steps and every trial's last, a batch of rows at a time."""
    early = sorted(set(signals.early_steps(spec).values()))
    kept = [
        batch.filter(pa.array(_looked_at(batch, early)))
        for batch in artifacts.read_statistics(
            settings.artifacts,
            claim.comparison_id,
            jobs.parts(db, claim.comparison_id, "statistics"),
            columns=signals.COLUMNS,
        )
    ]
    return pa.Table.from_batches(kept, artifacts.statistics_schema(signals.COLUMNS))


def _looked_at(batch: pa.RecordBatch, early: list[int]) -> NDArray[np.bool_]:
    """Rows of step 0, the early ones, and the last of their trial within this batch: a few too many, which does no harm."""
    trial, step = batch.column("trial").to_numpy(), batch.column("step").to_numpy()
    last_row = np.searchsorted(trial, trial, side="right") - 1  # rows are ordered by trial, then by step
    found: NDArray[np.bool_] = np.isin(step, [0, *early]) | (step == step[last_row])
    return found


def _write_files(
    db: Database,
    settings: Settings,
    record: ComparisonRecord,
    trials: list[TrialRecord],
    result: dict[str, Any],
) -> None:
    """All that is known of a comparison that has ended, so that its folder alone is enough to rebuild its record."""
    parts = [*jobs.parts(db, record.id, "statistics"), *jobs.parts(db, record.id, "curves")]
    artifacts.compact(settings.artifacts, record.id, parts)
    documents.write(settings.artifacts, record, trials, result)


@contextmanager
def _lease_kept(db: Database, claim: Claim, lease_seconds: float) -> Iterator[None]:
    """Renews the lease from a thread: a decision over millions of rows may take longer than one."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease_seconds / 3):
            try:
                jobs.renew(db, claim, live_steps=0, lease_seconds=lease_seconds)
            except LostClaim:
                return  # the decision finds out when it writes
            except DatabaseError as error:  # the next renewal may succeed; if none does, the claim is lost
                log.warning("decision %s: the lease could not be renewed: %s", claim.job_id, error)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
