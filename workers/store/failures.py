"""Attempts that end without a slice: the job is tried again, and after three in a row without progress its comparison fails."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from workers.contract.results import ENDED
from workers.store import claims, rounds, tables
from workers.store.claims import Claim
from workers.store.database import Database

ATTEMPTS = 3
BACK_OFF_SECONDS = 1.0
"""After the first failure; twice as long after the second."""

job = tables.job


@dataclass(frozen=True)
class Reaped:
    """A job that was taken from a worker that fell silent."""

    comparison_id: str
    untold: bool
    """It was a decision, lost once too often: nobody is left who would write the comparison's documents."""


def fail_attempt(db: Database, claim: Claim, *, code: str, message: str, progressed: bool) -> None:
    """Gives the job back after a failure, due again after a short while.

    Args:
        code: a stable word; it becomes the comparison's error if this was one failure too many.
        message: for people.
        progressed: the attempt did something that lasts, so its failure does not count as one in a row.

    Raises:
        LostClaim: another attempt has the job.
    """
    error = {"code": code, "message": message}
    with db.write() as session:
        owner = claims.write(session, claim, error=error)
        failures = session.scalars(select(job.c.failures).where(job.c.id == claim.job_id)).one()
        failures = 0 if progressed else failures + 1
        wait = timedelta(seconds=BACK_OFF_SECONDS * 2 ** max(0, failures - 1))
        _give_back(session, owner, claim.job_id, claim.kind, failures, datetime.now(UTC) + wait, error)


def reap(db: Database, now: datetime) -> list[Reaped]:
    """Requeues the jobs of workers that fell silent, and returns them. Nothing of such an attempt was recorded."""
    expired = (job.c.state == "running", job.c.lease_until < now)
    with db.read() as session:
        found = session.execute(select(job.c.id, job.c.comparison_id).where(*expired)).all()
    reaped = (_reap(db, job_id, comparison_id, now) for job_id, comparison_id in found)
    return [one for one in reaped if one is not None]


def _reap(db: Database, job_id: str, comparison_id: str, now: datetime) -> Reaped | None:
    with db.write() as session:
        owner = rounds.lock(session, comparison_id)
        still = (job.c.id == job_id, job.c.state == "running", job.c.lease_until < now)
        row = session.execute(select(job.c.kind, job.c.failures, job.c.worker).where(*still)).one_or_none()
        if owner is None or row is None:
            return None
        message = f"worker {row.worker} fell silent while it had the job, {ATTEMPTS} attempts in a row without progress"
        error = {"code": "worker_lost", "message": message}
        failures = row.failures + 1
        _give_back(session, owner, job_id, row.kind, failures, now, error)
        return Reaped(comparison_id, untold=row.kind == "decision" and failures >= ATTEMPTS)


def _give_back(
    session: Connection,
    owner: Row[Any],
    job_id: str,
    kind: str,
    failures: int,
    due_at: datetime,
    error: dict[str, str],
) -> None:
    """Queued again; unless this was one failure too many, or the comparison has ended and needs no more training."""
    values: dict[str, Any] = {
        "state": "queued",
        "live_steps": job.c.steps_done,
        "lease_until": None,
        "failures": failures,
        "due_at": due_at,
        "error": error,
    }
    stopped = owner.status in ENDED
    if failures >= ATTEMPTS:
        values["state"] = "failed"
    elif stopped and kind == "shard":
        values["state"] = "cancelled"
    session.execute(update(job).where(job.c.id == job_id).values(values))
    if values["state"] == "failed" and not stopped:
        rounds.end(session, owner.id, "failed", error=error)
        stopped = True
    rounds.advance(session, owner.id, "failed" if stopped else owner.status, owner.round_number, owner.round)
