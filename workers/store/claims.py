"""A worker's hold on a job: taken once, kept by renewing a lease, and checked by every write.

A claim has an attempt number. Whoever writes says which attempt it is: a worker that was silent for too long, and whose job
went to another, finds no row to write to and learns that it has lost its claim.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, update

from workers.contract.plan import Execution, Shard
from workers.contract.results import ENDED
from workers.store import events, progress, rounds, tables, turns
from workers.store.database import Database

TRIES = 32
"""How often in a row others may be faster before a message is given up; it is sent again."""

job, comparison = tables.job, tables.comparison


class LostClaim(Exception):  # noqa: N818 - what happened, not what went wrong
    """The job is another attempt's now, or gone. Nothing was written."""


@dataclass(frozen=True)
class Claim:
    job_id: str
    comparison_id: str
    kind: Literal["shard", "decision"]
    round: int
    attempt: int
    shard: Shard | None
    """None on a decision."""
    execution: Execution | None
    """None until the first worker has chosen it."""
    checkpoint: str | None
    """Relative to the comparison's folder; None before the first slice."""
    steps_done: int
    priority: int
    spec: dict[str, Any]


def claim(db: Database, job_id: str, *, worker: str, lease_seconds: float) -> Claim | None:
    """Takes this job if it is queued and due; None if it is not, or is no more. One of several callers gets it."""
    with db.write() as session:
        return _take(session, job_id, worker, lease_seconds)


def claim_in_turn(db: Database, job_id: str, *, worker: str, lease_seconds: float) -> Claim | None:
    """Takes the job whose turn it is among those for the same kind of device as this one; None if none is due.

    A message says that there is work, and is as old as its queue is long: whose turn it is, the record knows.
    """
    for _ in range(TRIES):
        # One job a transaction: whoever held one comparison's lock and waited for another's could wait for ever.
        with db.write() as session:
            device = session.scalar(select(job.c.device).where(job.c.id == job_id))
            queue = turns.queue_of(device) if device is not None else None
            turn = turns.in_order(session, queue, datetime.now(UTC), limit=1) if queue else []
            if not turn:
                return None
            sent = session.scalar(select(job.c.published_at).where(job.c.id == turn[0]))
            taken = _take(session, turn[0], worker, lease_seconds)
            if taken is not None:
                if turn[0] != job_id:  # the message was this job's: the other's, if one is under way, now stands for it
                    turns.mark(session, [job_id], sent)
                return taken
    return None


def _take(session: Connection, job_id: str, worker: str, lease_seconds: float) -> Claim | None:
    now = datetime.now(UTC)
    comparison_id = session.scalar(select(job.c.comparison_id).where(job.c.id == job_id))
    owner = rounds.lock(session, comparison_id) if comparison_id else None
    if owner is None:
        return None
    taking = (
        update(job)
        .where(job.c.id == job_id, job.c.state == "queued", job.c.due_at <= now)
        .values(
            state="running",
            attempt=job.c.attempt + 1,
            worker=worker,
            lease_until=now + timedelta(seconds=lease_seconds),
            published_at=None,
        )
        .returning(job)
    )
    row = session.execute(taking).one_or_none()
    if row is None:
        return None
    spec = session.scalars(select(comparison.c.spec).where(comparison.c.id == owner.id)).one()
    if owner.status == "queued":
        rounds.change(session, owner.id, status="running", started_at=now)
        events.append(session, owner.id, "status", {"status": "running"})
    turns.served(session, owner.id, now)
    return Claim(
        job_id=row.id,
        comparison_id=row.comparison_id,
        kind=row.kind,
        round=row.round,
        attempt=row.attempt,
        shard=Shard.model_validate(row.shard) if row.shard else None,
        execution=Execution.model_validate(row.execution) if row.execution else None,
        checkpoint=row.checkpoint,
        steps_done=row.steps_done,
        priority=owner.priority,
        spec=spec,
    )


def write(session: Connection, held: Claim, **values: Any) -> Row[Any]:
    """Writes to the claimed job and returns its comparison's row, locked, as it was before.

    Raises:
        LostClaim: the job is not this attempt's any more.
    """
    owner = rounds.lock(session, held.comparison_id)
    mine = (job.c.id == held.job_id, job.c.attempt == held.attempt, job.c.state == "running")
    if owner is None or session.execute(update(job).where(*mine).values(**values)).rowcount == 0:
        raise LostClaim(f"job {held.job_id}, attempt {held.attempt}")
    return owner


def freeze_execution(db: Database, claim: Claim, execution: Execution) -> Execution:
    """Fixes how the shard runs, once: returns what was fixed first. From then on its device's queue is its own.

    Raises:
        LostClaim
    """
    with db.write() as session:
        rounds.lock(session, claim.comparison_id)
        frozen = session.scalar(select(job.c.execution).where(job.c.id == claim.job_id))
        chosen = frozen or execution.model_dump(mode="json")
        write(session, claim, execution=chosen, device=chosen["device"])
        return Execution.model_validate(chosen)


def renew(
    db: Database, claim: Claim, *, live_steps: int, lease_seconds: float
) -> Literal["continue", "yield", "cancel"]:
    """Keeps the lease and tells how far the slice is: updates of each of its trials, not yet in a checkpoint.

    Returns:
        What to do: "cancel" once the comparison has ended, "yield" while another's job waits that would come first.

    Raises:
        LostClaim
    """
    now = datetime.now(UTC)
    with db.write() as session:
        owner = write(session, claim, live_steps=live_steps, lease_until=now + timedelta(seconds=lease_seconds))
        if owner.status in ENDED:
            return "cancel"
        progress.record(session, owner)
        return "yield" if turns.others_wait(session, claim.job_id, owner, now) else "continue"
