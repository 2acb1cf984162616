"""Whose turn it is. The record decides, not a queue: highest priority first, then the comparison that was least recently served.

Messages to workers are few at a time and may be lost: one that was not answered within RESEND_SECONDS is sent again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, true, update

from workers.store import fleet, tables
from workers.store.database import Database

RESEND_SECONDS = 10.0
CPU, CUDA = "plumbline.cpu", "plumbline.cuda"

job, comparison = tables.job, tables.comparison


@dataclass(frozen=True)
class DueJob:
    id: str
    queue: str


def queue_of(device: str) -> str:
    """Where a job's messages go; a shard that may run anywhere goes to the CPU's, until its first worker has chosen."""
    return CUDA if device == "cuda" else CPU


def due(db: Database, *, now: datetime, limit: int) -> list[DueJob]:
    """Jobs to send messages for, in their turn: so many that at most `limit` messages are under way in each queue."""
    resend = now - timedelta(seconds=RESEND_SECONDS)
    under_way = (job.c.state == "queued", job.c.published_at > resend)
    found = []
    with db.read() as session:
        for queue in (CPU, CUDA):
            count = session.scalar(select(func.count()).where(_in(queue), *under_way)) or 0
            ids = in_order(session, queue, now, limit=max(0, limit - count), unsent_since=resend)
            found += [DueJob(job_id, queue) for job_id in ids]
    return found


def mark_published(db: Database, job_ids: list[str], now: datetime) -> None:
    """Their messages are under way. A worker may have taken one already: that stays as it is."""
    with db.write() as session:
        mark(session, job_ids, now)


def mark(session: Connection, job_ids: list[str], published_at: datetime | None) -> None:
    """Notes when messages for these jobs were sent, of those that are still queued.

    Their comparisons are not locked for this. So a job that another writes to at this moment is passed over, never waited
    for; at worst its message is sent once more.
    """
    queued = select(job.c.id).where(job.c.id.in_(job_ids), job.c.state == "queued")
    free = queued.with_for_update(skip_locked=True, key_share=True)
    session.execute(update(job).where(job.c.id.in_(free)).values(published_at=published_at))


def in_order(
    session: Connection, queue: str, now: datetime, *, limit: int, unsent_since: datetime | None = None
) -> list[str]:
    """Ids of the queued jobs that are due, in their turn; without those that a message was sent for since then."""
    query = (
        select(job.c.id)
        .join(comparison)
        .where(_in(queue), job.c.state == "queued", job.c.due_at <= now)
        .order_by(
            comparison.c.priority.desc(),
            comparison.c.served_at.asc().nulls_first(),
            comparison.c.created_at,
            comparison.c.id,
            job.c.round,
            job.c.position,
        )
        .limit(limit)
    )
    if unsent_since is not None:
        query = query.where((job.c.published_at.is_(None)) | (job.c.published_at <= unsent_since))
    return list(session.scalars(query))


def others_wait(session: Connection, job_id: str, owner: Row[Any], now: datetime) -> bool:
    """Whether a job of another comparison, no less urgent than this one, waits for this one's worker.

    A worker with a card serves both queues; one that has not said what it is counts for the queue its job came from.
    """
    running = session.execute(select(job.c.device, job.c.worker).where(job.c.id == job_id)).one()
    everything = fleet.device_of(session, running.worker) == "cuda"
    query = (
        select(job.c.id)
        .join(comparison)
        .where(
            true() if everything else _in(queue_of(running.device)),
            job.c.state == "queued",
            job.c.due_at <= now,
            job.c.comparison_id != owner.id,
            comparison.c.priority >= owner.priority,
        )
        .limit(1)
    )
    return session.scalar(query) is not None


def served(session: Connection, comparison_id: str, now: datetime) -> None:
    """Its turn is over, or has just begun."""
    session.execute(update(comparison).where(comparison.c.id == comparison_id).values(served_at=now))


def _in(queue: str) -> ColumnElement[bool]:
    return job.c.device == "cuda" if queue == CUDA else job.c.device != "cuda"
