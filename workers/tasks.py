"""The one Celery task: a job has work. Read, call one plain function, write, tell who is next.

Three kinds of process: Celery's own (takes messages), its pool child (claims, supervises, commits) and the trainer (torch).
"""

import logging
import mmap
import os
import secrets
import socket
import time
from datetime import UTC, datetime
from typing import NamedTuple

from celery import signals
from kombu.exceptions import OperationalError

from workers.app import app
from workers.decide import decide
from workers.presence import Identity, Presence
from workers.settings import Settings, read_settings
from workers.store import jobs
from workers.store.database import Database, open_database
from workers.store.dispatch import publish_due
from workers.supervisor import Supervisor

TASK = "plumbline.work"
READY_SECONDS = 30.0
"""For a trainer to load; it may have to compile first. Celery waits for a pool child twice as long."""

log = logging.getLogger(__name__)
settings = read_settings()

identity = Identity(
    name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
    host=socket.gethostname(),
    pid=os.getpid(),
    started_at=datetime.now(UTC),
)
"""Made in Celery's own process: a pool child that takes the place of another is the same worker. Containers may share a name
and number their processes alike, hence the chance."""

_draining = mmap.mmap(-1, 1)
"""Shared with the pool child, which is forked: non-zero once the worker was asked to end."""


class Bench(NamedTuple):
    """What a pool child works with."""

    db: Database
    supervisor: Supervisor
    settings: Settings
    name: str
    presence: Presence


_bench: list[Bench] = []
"""Empty in Celery's own process, one bench in its pool child."""


@app.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery ships no types
def work(job_id: str) -> None:
    perform(_bench[0], job_id)


def perform(bench: Bench, job_id: str) -> None:
    """One slice or one decision, of this job or of the one whose turn it is; then the next messages."""
    try:
        claim = jobs.claim_in_turn(bench.db, job_id, worker=bench.name, lease_seconds=bench.settings.lease_seconds)
        if claim is not None and claim.kind == "shard":
            bench.supervisor.train(bench.db, claim)
        elif claim is not None:
            decide(bench.db, claim, bench.settings)
    finally:
        try:
            publish_due(bench.db, send)
        except (OperationalError, OSError) as error:
            log.warning("the broker does not answer, the dispatcher will send what is due: %s", error)


def send(job_id: str, queue: str) -> None:
    app.send_task(TASK, args=[job_id], queue=queue, ignore_result=True, retry=False)


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def set_up(**_: object) -> None:
    """In the pool child, before its first task: the database, and a warm trainer; until it is, what is due is left to others.

    The trainer is this thread's, the one that lives as long as the pool child: it dies with the thread that starts it.
    """
    supervisor = Supervisor(settings, draining=lambda: _draining[0] != 0)
    trainer = supervisor.warm()
    db = open_database(settings.database_url)
    presence = Presence(db, identity, lambda: supervisor.about, lease_seconds=settings.lease_seconds)
    _bench.append(Bench(db, supervisor, settings, identity.name, presence))
    presence.start()
    patience = time.monotonic() + READY_SECONDS
    while not trainer.await_ready(0.1) and not _draining[0] and time.monotonic() < patience:
        pass


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def tear_down(**_: object) -> None:
    while _bench:
        bench = _bench.pop()
        bench.presence.stop()
        bench.supervisor.close()
        bench.db.close()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(**_: object) -> None:
    """In Celery's own process: a running slice ends at its next block, is committed, and goes on elsewhere."""
    _draining[0] = 1
