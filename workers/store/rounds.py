"""How a comparison goes from round to round, and how it ends. Everything here is part of a caller's transaction.

Every transaction that writes to a comparison or its jobs locks the comparison's row first, and never a second comparison's.
So of two shards that finish at the same moment exactly one sees that it was the last of its round, and no two transactions
wait for each other. (`turns.mark` writes without that lock, and waits for nobody.)
"""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, cast, func, insert, select, update

from workers.contract.plan import Shard
from workers.contract.results import ENDED, Status
from workers.store import events, tables

comparison, job, trial = tables.comparison, tables.job, tables.trial


@dataclass(frozen=True)
class NewRound:
    """A round to be recorded; ids are made by the store."""

    number: int
    role: str
    shards: list[Shard]


def lock(session: Connection, comparison_id: str) -> Row[Any] | None:
    """The comparison's row without spec and result, to be changed by nobody else until the transaction ends; None if there is none."""
    light = [column for column in comparison.c if column.name not in ("spec", "result", "labels")]
    query = select(*light).where(comparison.c.id == comparison_id).with_for_update()
    return session.execute(query).one_or_none()


def change(session: Connection, comparison_id: str, **values: Any) -> None:
    """A visible change of the comparison."""
    session.execute(
        update(comparison).where(comparison.c.id == comparison_id).values(version=comparison.c.version + 1, **values)
    )


def insert_round(session: Connection, comparison_id: str, round_: NewRound) -> None:
    """The round's shards, due now, and their trials.

    Raises:
        ValueError: the round has no shard, and so would never end.
    """
    if not round_.shards:
        raise ValueError(f"round {round_.number} of comparison {comparison_id} has no shards")
    rows, trials = [], []
    for position, shard in enumerate(round_.shards):
        row = _job(
            comparison_id,
            "shard",
            round_.number,
            round_.role,
            position=position,
            problem=shard.trials[0].problem,
            variant=shard.variant,
            shard=shard.model_dump(mode="json"),
            device=shard.device,
            trials_count=len(shard.trials),
            steps=shard.steps,
        )
        rows.append(row)
        trials += [
            {"comparison_id": comparison_id, "job_id": row["id"], "outcome": "pending"}
            | planned.model_dump(mode="json")
            for planned in shard.trials
        ]
    session.execute(insert(job), rows)
    session.execute(insert(trial), trials)


def planned(session: Connection, comparison_id: str) -> dict[str, int]:
    """Trials and steps of all rounds so far, as the comparison's row has them."""
    steps = cast(job.c.trials_count, BigInteger) * job.c.steps
    query = select(func.sum(job.c.trials_count), func.sum(steps)).where(
        job.c.comparison_id == comparison_id, job.c.kind == "shard"
    )
    trials, total = session.execute(query).one()
    return {"trials_total": int(trials), "steps_total": int(total)}


def advance(session: Connection, comparison_id: str, status: Status, round_number: int, role: str) -> None:
    """Inserts the round's decision when it is time for it, at most once.

    That is when all shards of the round have succeeded; or, for a comparison that was stopped, when none of its shards
    is being trained any more: then the decision tells the partial result.
    """
    shards = select(func.count()).where(
        job.c.comparison_id == comparison_id, job.c.round == round_number, job.c.kind == "shard"
    )
    unfinished = shards.where(job.c.state == "running" if status in ENDED else job.c.state != "succeeded")
    decided = select(func.count()).where(
        job.c.comparison_id == comparison_id, job.c.round == round_number, job.c.kind == "decision"
    )
    if session.scalar(unfinished) or session.scalar(decided):
        return
    session.execute(insert(job).values(_job(comparison_id, "decision", round_number, role)))


def end(
    session: Connection,
    comparison_id: str,
    status: Status,
    *,
    error: dict[str, Any] | None = None,
    finished_at: datetime | None = None,
    **values: Any,
) -> None:
    """Ends the comparison: queued shards will not run, running ones are told when they renew their lease.

    A decision that is queued or running stays: it tells the result so far.
    """
    waiting = (job.c.comparison_id == comparison_id, job.c.kind == "shard", job.c.state == "queued")
    session.execute(update(job).where(*waiting).values(state="cancelled"))
    session.execute(
        update(trial)
        .where(trial.c.comparison_id == comparison_id, trial.c.outcome == "pending")
        .values(outcome="cancelled")
    )
    change(session, comparison_id, status=status, finished_at=finished_at or datetime.now(UTC), error=error, **values)
    events.append(session, comparison_id, "status", {"status": status} | ({"error": error} if error else {}))


def _job(comparison_id: str, kind: str, round_number: int, role: str, **values: Any) -> dict[str, Any]:
    new = {
        "id": _new_id(),
        "comparison_id": comparison_id,
        "kind": kind,
        "round": round_number,
        "role": role,
        "position": 0,
        "device": "auto",
        "state": "queued",
        "due_at": datetime.now(UTC),
        "attempt": 0,
        "trials_count": 0,
        "steps": 0,
        "steps_done": 0,
        "live_steps": 0,
        "failures": 0,
    }
    return new | values


def _new_id() -> str:
    """Sorts by time of creation: milliseconds, then chance."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"
