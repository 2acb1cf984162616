"""The comparisons themselves: accept, find, list, cancel, delete."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, literal, select, tuple_
from sqlalchemy import delete as delete_from
from sqlalchemy.exc import IntegrityError

from workers.contract.plan import Execution, Role, Scalar
from workers.contract.results import ENDED, Outcome, Status
from workers.store import cursors, datasets, events, progress, rounds, tables
from workers.store.database import Database
from workers.store.rounds import NewRound

__all__ = [
    "ComparisonRecord",
    "IdempotencyConflict",
    "NewRound",
    "ShardRecord",
    "StillRunning",
    "TrialRecord",
    "accept",
    "cancel",
    "delete",
    "find",
    "page",
    "shards",
    "trials",
]

comparison, job, label, trial = tables.comparison, tables.job, tables.label, tables.trial


class IdempotencyConflict(Exception):  # noqa: N818 - said of the request
    """The key came with another body before."""


class StillRunning(Exception):  # noqa: N818 - said of the comparison
    """It has not ended, so it cannot be deleted."""


@dataclass(frozen=True)
class ComparisonRecord:
    id: str
    name: str
    status: Status
    labels: dict[str, str]
    spec: dict[str, Any]
    """Empty on a page."""
    result: dict[str, Any] | None
    """None on a page."""
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    version: int
    """Counts visible changes."""
    trials_total: int
    steps_done: int
    steps_total: int
    round: str | None
    """Role of the round in training; None once it has ended."""
    rate: float | None
    """Steps per second over all trials, smoothed over the last seconds."""

    @property
    def eta_seconds(self) -> float | None:
        return progress.eta_seconds(self.status, self.steps_total - self.steps_done, self.rate)


@dataclass(frozen=True)
class ShardRecord:
    round: int
    problem: str
    variant: str
    trials: int
    execution: Execution
    step_seconds: dict[str, float]
    """By name of optimizer; empty until it is trained, and where none of its trials are reported."""


@dataclass(frozen=True)
class TrialRecord:
    trial: int
    problem: str
    variant: str
    optimizer: str
    kind: str
    hyperparameters: dict[str, Scalar]
    seed: int
    role: Role
    job_id: str
    outcome: Outcome
    divergence: dict[str, Any] | None
    test_loss: float | None
    test_accuracy: float | None


def accept(
    db: Database,
    *,
    comparison_id: str,
    spec: dict[str, Any],
    labels: dict[str, str],
    round_: NewRound,
    steps_total: int,
    trials_total: int,
    idempotency_key: str | None,
    body_hash: str,
    dataset_id: str | None = None,
) -> tuple[ComparisonRecord, bool]:
    """Records a comparison with its first round's shards, due now, in one transaction.

    Args:
        spec: the whole request as JSON.
        steps_total: parameter updates over all trials of all rounds.
        idempotency_key: names the request; None for none.
        body_hash: what tells one body from another under the same key.
        dataset_id: the data set that it trains on, which cannot be deleted from now on until it has ended.

    Returns:
        The comparison and whether it is new: under a known key with the same body it is the one recorded before.

    Raises:
        IdempotencyConflict: the key is known with another body.
        UnknownDataset: there is no such data set (any more).
    """
    row = {
        "id": comparison_id,
        "name": spec.get("name", ""),
        "spec": spec,
        "labels": labels,
        "idempotency_key": idempotency_key,
        "body_hash": body_hash,
        "status": "queued",
        "priority": spec.get("priority", 0),
        "created_at": datetime.now(UTC),
        "version": 1,
        "round_number": round_.number,
        "round": round_.role,
        "trials_total": trials_total,
        "steps_total": steps_total,
        "steps_done": 0,
        "sampled_steps": 0,
        "dataset_id": dataset_id,
    }
    if (known := _known(db, idempotency_key, body_hash)) is not None:
        return known, False
    try:
        with db.write() as session:
            if dataset_id is not None:
                datasets.hold(session, dataset_id)
            session.execute(insert(comparison).values(row))
            if labels:
                pairs = [{"comparison_id": comparison_id, "key": key, "value": value} for key, value in labels.items()]
                session.execute(insert(label), pairs)
            rounds.insert_round(session, comparison_id, round_)
            events.append(session, comparison_id, "status", {"status": "queued"})
            return _find(session, comparison_id), True
    except IntegrityError:
        # An equal request came in between.
        if (known := _known(db, idempotency_key, body_hash)) is None:
            raise
        return known, False


def find(db: Database, comparison_id: str) -> ComparisonRecord | None:
    if _impossible(comparison_id):
        return None
    with db.read() as session:
        row = session.execute(select(comparison).where(comparison.c.id == comparison_id)).one_or_none()
    return _record(row) if row else None


def page(
    db: Database,
    *,
    limit: int,
    cursor: str | None,
    status: str | None = None,
    name: str | None = None,
    label: tuple[str, str] | None = None,
) -> tuple[list[ComparisonRecord], str | None]:
    """Comparisons without their specs and results, newest first, and the cursor of the next page, None on the last.

    Raises:
        ValueError: the cursor is none of ours.
    """
    if _impossible(name, *(label or ())):
        return [], None
    light = [column for column in comparison.c if column.name not in ("spec", "result")]
    query = select(*light).order_by(comparison.c.created_at.desc(), comparison.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        moment, last = cursors.decode(cursor)
        place = tuple_(literal(moment, tables.UtcDateTime), literal(last))
        query = query.where(tuple_(comparison.c.created_at, comparison.c.id) < place)
    if status is not None:
        query = query.where(comparison.c.status == status)
    if name is not None:
        query = query.where(comparison.c.name == name)
    if label is not None:
        held = tables.label.c
        query = query.where(
            exists().where(held.comparison_id == comparison.c.id, held.key == label[0], held.value == label[1])
        )
    with db.read() as session:
        rows = session.execute(query).all()
    shown = [_record(row) for row in rows[:limit]]
    more = len(rows) > limit
    return shown, cursors.encode(shown[-1].created_at, shown[-1].id) if more else None


def cancel(db: Database, comparison_id: str) -> ComparisonRecord | None:
    """Cancels what has not ended, at once. What was trained is kept, and a decision will tell the partial result.

    Returns the comparison as it is then, ended otherwise perhaps; None if there is none.
    """
    if _impossible(comparison_id):
        return None
    with db.write() as session:
        row = rounds.lock(session, comparison_id)
        if row is None:
            return None
        if row.status not in ENDED:
            progress.record(session, row, always=True)
            rounds.end(session, comparison_id, "cancelled")
            rounds.advance(session, comparison_id, "cancelled", row.round_number, row.round)
        return _find(session, comparison_id)


def delete(db: Database, comparison_id: str) -> bool:
    """Forgets a comparison that has ended, in all tables; its files are the caller's. False if there is none.

    Raises:
        StillRunning: it has not ended.
    """
    if _impossible(comparison_id):
        return False
    with db.write() as session:
        row = rounds.lock(session, comparison_id)
        if row is None:
            return False
        if row.status not in ENDED:
            raise StillRunning(comparison_id)
        session.execute(delete_from(comparison).where(comparison.c.id == comparison_id))
        return True


def trials(db: Database, comparison_id: str) -> list[TrialRecord]:
    """All trials planned so far, in the comparison's frozen order."""
    columns = [column for column in trial.c if column.name != "comparison_id"]
    query = select(*columns).where(trial.c.comparison_id == comparison_id).order_by(trial.c.trial)
    with db.read() as session:
        return [TrialRecord(**row._mapping) for row in session.execute(query)]


def shards(db: Database, comparison_id: str) -> list[ShardRecord]:
    """Those that a worker has begun, in the order of rounds."""
    query = (
        select(job.c.round, job.c.problem, job.c.variant, job.c.trials_count, job.c.execution, job.c.step_seconds)
        .where(job.c.comparison_id == comparison_id, job.c.execution.is_not(None))
        .order_by(job.c.round, job.c.position)
    )
    with db.read() as session:
        found = [row for row in session.execute(query) if row.execution]
    return [
        ShardRecord(
            row.round,
            row.problem or "",
            row.variant,
            row.trials_count,
            Execution.model_validate(row.execution),
            row.step_seconds or {},
        )
        for row in found
    ]


def _impossible(*texts: str | None) -> bool:
    """Whether a text holds a null character: no record does, and PostgreSQL does not even look for one."""
    return any("\x00" in text for text in texts if text is not None)


def _known(db: Database, idempotency_key: str | None, body_hash: str) -> ComparisonRecord | None:
    """The comparison that came under this key. Raises IdempotencyConflict where its body was another."""
    if idempotency_key is None:
        return None
    with db.read() as session:
        row = session.execute(select(comparison).where(comparison.c.idempotency_key == idempotency_key)).one_or_none()
    if row is not None and row.body_hash != body_hash:
        raise IdempotencyConflict(idempotency_key)
    return _record(row) if row else None


def _find(session: Connection, comparison_id: str) -> ComparisonRecord:
    return _record(session.execute(select(comparison).where(comparison.c.id == comparison_id)).one())


def _record(row: Row[Any]) -> ComparisonRecord:
    found = row._mapping
    return ComparisonRecord(
        id=row.id,
        name=row.name,
        status=row.status,
        labels=row.labels,
        spec=found.get("spec", {}),
        result=found.get("result"),
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        version=row.version,
        trials_total=row.trials_total,
        steps_done=row.steps_done,
        steps_total=row.steps_total,
        round=None if row.status in ENDED else row.round,
        rate=row.rate,
    )
