"""The end of a slice: its checkpoint, its parts and, after the last, its trials' outcomes become part of the record at once."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from sqlalchemy import Connection, insert, select, update

from workers.contract.results import ENDED, Outcome
from workers.store import claims, events, progress, rounds, tables, turns
from workers.store.claims import Claim
from workers.store.database import Database
from workers.store.parts import Kind, Part

job, part, trial = tables.job, tables.part, tables.trial


@dataclass(frozen=True)
class TrialOutcome:
    trial: int
    outcome: Outcome
    divergence: dict[str, Any] | None
    test_loss: float | None
    test_accuracy: float | None


@dataclass(frozen=True)
class Slice:
    steps_done: int
    """Updates of each trial, in the checkpoint."""
    finished: bool
    """There is nothing left to train."""
    checkpoint: str | None
    """Relative to the comparison's folder."""
    parts: list[Part]
    trials: list[TrialOutcome]
    """Of all trials once finished, else none."""
    step_seconds: dict[str, float] = field(default_factory=dict)
    """What a step takes, by name of optimizer, once finished; of those that were measured."""


def commit_slice(db: Database, claim: Claim, slice_: Slice) -> None:
    """Records a slice and gives the job back: finished, or due again. The last shard of a round brings up its decision.

    What was trained for a comparison that has ended meanwhile is recorded, too, and the job is not due again.

    Raises:
        LostClaim: nothing was recorded.
    """
    now = datetime.now(UTC)
    with db.write() as session:
        values: dict[str, Any] = {
            "steps_done": slice_.steps_done,
            "live_steps": slice_.steps_done,
            "checkpoint": slice_.checkpoint,
            "lease_until": None,
            "due_at": now,
            "state": "succeeded" if slice_.finished else "queued",
        }
        if slice_.finished:
            values["live_steps"] = job.c.steps  # trials that diverged early leave nothing to do, either
            values["step_seconds"] = slice_.step_seconds
        if slice_.finished or slice_.steps_done > claim.steps_done:
            values["failures"] = 0
        owner = claims.write(session, claim, **values)
        if owner.status in ENDED and not slice_.finished:
            session.execute(update(job).where(job.c.id == claim.job_id).values(state="cancelled"))
        if slice_.parts:
            known = {"comparison_id": claim.comparison_id, "job_id": claim.job_id}
            session.execute(insert(part), [known | vars(written) for written in slice_.parts])
        for ended in slice_.trials:
            _record(session, claim, ended)
        turns.served(session, claim.comparison_id, now)
        progress.record(session, owner, always=True)
        rounds.advance(session, owner.id, owner.status, owner.round_number, owner.round)


def parts(db: Database, comparison_id: str, kind: Kind) -> list[Part]:
    """The files of a comparison, shard by shard, each shard's by step."""
    query = (
        select(part.c.kind, part.c.path, part.c.first_step, part.c.last_step, part.c.rows)
        .join(job, job.c.id == part.c.job_id)
        .where(part.c.comparison_id == comparison_id, part.c.kind == kind)
        .order_by(job.c.round, job.c.position, part.c.first_step, part.c.id)
    )
    with db.read() as session:
        return [Part(*row) for row in session.execute(query)]


def _record(session: Connection, claim: Claim, ended: TrialOutcome) -> None:
    values = {
        "outcome": ended.outcome,
        "divergence": ended.divergence,
        "test_loss": _finite(ended.test_loss),
        "test_accuracy": _finite(ended.test_accuracy),
    }
    mine = (trial.c.comparison_id == claim.comparison_id, trial.c.trial == ended.trial, trial.c.job_id == claim.job_id)
    session.execute(update(trial).where(*mine).values(values))
    if ended.outcome == "diverged":
        data = {"trial": ended.trial, "outcome": ended.outcome, "divergence": ended.divergence}
        events.append(session, claim.comparison_id, "trial", data)


def _finite(number: float | None) -> float | None:
    return number if number is not None and isfinite(number) else None
