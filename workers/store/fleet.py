"""The workers that are up, as they say themselves: each keeps a row fresh, and one that is silent for long is gone.

Which job a worker has is the job's to say. From what is up and what is due follows who waits for a worker that there is not.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from workers.store import tables
from workers.store.database import Database

SILENT_LEASES = 3.0
"""A worker that has not been heard of for longer than this many leases is gone."""

job, worker = tables.job, tables.worker


@dataclass(frozen=True)
class Worker:
    """What a worker is, and when it was last heard of."""

    name: str
    """As in the jobs it takes."""
    host: str
    pid: int
    device: Literal["cpu", "cuda"]
    device_name: str
    """The model of its CPU or card."""
    cores: int
    """Threads that it trains with on its CPU."""
    memory_bytes: int
    """Of its device."""
    torch: str
    """Version."""
    matmul_flops_per_second: float
    """Operations in a second of batched float32 matrix products: what it measured on starting."""
    started_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class Present:
    """A worker that is up, and what it does."""

    worker: Worker
    job_id: str | None
    """None if it is idle."""
    comparison_id: str | None


@dataclass(frozen=True)
class Waiting:
    """Something is due and no worker that is up can take it."""

    worker: Literal["cuda", "any"]
    """The kind that is missing."""
    since: datetime
    """Since when the first of what waits has been due."""


def appear(db: Database, here: Worker) -> None:
    """The worker is up. To be said again and again: what is silent for SILENT_LEASES leases is gone."""
    values = asdict(here)
    with db.write() as session:
        if not session.execute(update(worker).where(worker.c.name == here.name).values(values)).rowcount:
            session.execute(insert(worker).values(values))


def leave(db: Database, name: str) -> None:
    """The worker ends."""
    with db.write() as session:
        session.execute(delete(worker).where(worker.c.name == name))


def present(db: Database, *, now: datetime, lease_seconds: float) -> list[Present]:
    """The workers that are up, those that started first first."""
    query = select(worker).where(_up(now, lease_seconds)).order_by(worker.c.started_at, worker.c.name)
    having = (
        select(job.c.worker, job.c.id, job.c.comparison_id)
        .where(job.c.state == "running", job.c.worker.in_(select(worker.c.name)))
        .order_by(job.c.lease_until)  # it may have lost an older one, not reaped yet: the newest counts
    )
    with db.read() as session:
        up = [Worker(**row._mapping) for row in session.execute(query)]
        has = {row.worker: (row.id, row.comparison_id) for row in session.execute(having)}
    return [Present(one, *has.get(one.name, (None, None))) for one in up]


def forget_silent(db: Database, *, now: datetime, lease_seconds: float) -> int:
    """Removes the workers that are gone. Returns how many. One that speaks up again is back."""
    with db.read() as session:
        if session.scalar(select(func.count()).select_from(worker).where(~_up(now, lease_seconds))) == 0:
            return 0
    with db.write() as session:
        return session.execute(delete(worker).where(~_up(now, lease_seconds))).rowcount


def waiting(db: Database, comparison_ids: list[str], *, now: datetime, lease_seconds: float) -> dict[str, Waiting]:
    """Those of the comparisons that have something due which no worker that is up can take.

    A worker with a CUDA card takes everything, one without takes what need not run on CUDA: so where parts that need a card and
    parts that do not are waiting, a worker with a card is what is missing.
    """
    found: dict[str, Waiting] = {}
    with db.read() as session:
        up = set(session.scalars(select(worker.c.device).where(_up(now, lease_seconds)).distinct()))
        if "cuda" in up:
            return found
        query = (
            select(job.c.comparison_id, job.c.device, func.min(job.c.due_at).label("since"))
            .where(job.c.comparison_id.in_(comparison_ids), job.c.state == "queued", job.c.due_at <= now)
            .group_by(job.c.comparison_id, job.c.device)
        )
        if up:
            query = query.where(job.c.device == "cuda")
        for row in session.execute(query):
            known = found.get(row.comparison_id)
            on_cuda = row.device == "cuda" or (known is not None and known.worker == "cuda")
            since = min(row.since, known.since) if known else row.since
            found[row.comparison_id] = Waiting("cuda" if on_cuda else "any", since)
    return found


def device_of(session: Connection, name: str) -> str | None:
    """What a worker trains on; None if it is not known."""
    return session.scalar(select(worker.c.device).where(worker.c.name == name))


def _up(now: datetime, lease_seconds: float) -> ColumnElement[bool]:
    return worker.c.seen_at >= now - timedelta(seconds=SILENT_LEASES * lease_seconds)
