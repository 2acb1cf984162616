"""Eight worker processes on one record, some of them killed, one frozen: every job is done once, on SQLite and on PostgreSQL."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import store_worker
from sqlalchemy import select
from store_samples import accept, found, states

from workers.store import comparisons, events, jobs, tables
from workers.store.database import Database

WORKERS, COMPARISONS, SHARDS, KILLS = 8, 25, 8, 8
Worker = subprocess.Popen[str]


def start(url: str, name: str, *options: str) -> Worker:
    command = [sys.executable, str(Path(__file__).with_name("store_worker.py")), url, name, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextmanager
def reaping(db: Database) -> Iterator[None]:
    """What the service's loop does beside the workers."""
    over = threading.Event()

    def reap() -> None:
        while not over.wait(0.1):
            jobs.reap(db, datetime.now(UTC))

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def told(workers: list[Worker]) -> Iterator[list[str]]:
    """What they said until they ended."""
    for worker in workers:
        said, _ = worker.communicate(timeout=120)
        yield from (line.split() for line in said.splitlines() if len(line.split()) == 3)


def test_every_job_is_done_once_whoever_is_killed(db: Database, database_url: str) -> None:
    """Two hundred shards and their decisions; no attempt of a job succeeds after another did, and all comparisons succeed."""
    names = [f"c{index}" for index in range(COMPARISONS)]
    for name in names:
        accept(db, name, shards=SHARDS)
    workers = [start(database_url, f"w{index}") for index in range(WORKERS)]
    chance = random.Random(1)  # noqa: S311 - who is killed is no secret
    with reaping(db):
        for kill in range(KILLS):
            time.sleep(0.25)
            alive = [worker for worker in workers if worker.poll() is None]
            if alive:
                chance.choice(alive).kill()
                workers.append(start(database_url, f"again{kill}"))
        said = list(told(workers))
    assert [found(db, name).status for name in names] == ["succeeded"] * COMPARISONS
    assert set(states(db, "shard")) == set(states(db, "decision")) == {"succeeded"}
    assert len(states(db, "shard")) == COMPARISONS * SHARDS
    assert len(states(db, "decision")) == COMPARISONS
    done = Counter(job for word, job, _ in said if word == "did")
    assert max(done.values()) == 1
    attempts = Counter((job, attempt) for word, job, attempt in said if word == "holding")
    assert max(attempts.values()) == 1
    for name in names:
        assert {trial.outcome for trial in comparisons.trials(db, name)} == {"completed"}
        assert sum(event.kind == "ranking" for event in events.after(db, name, 0)) == 1


def test_a_frozen_worker_finds_its_claim_lost(db: Database, database_url: str) -> None:
    """Stopped past its lease, it wakes up when another has the job, writes nothing and says so."""
    accept(db)
    worker = start(database_url, "frozen", "0.5")
    assert worker.stdout is not None
    _, job, attempt = worker.stdout.readline().split()
    worker.send_signal(signal.SIGSTOP)
    with reaping(db):
        other = None
        patience = time.monotonic() + 30
        while other is None:
            assert time.monotonic() < patience
            other = jobs.claim(db, job, worker="other", lease_seconds=60)
            time.sleep(0.05)
    worker.send_signal(signal.SIGCONT)
    assert worker.stdout.readline().split() == ["lost", job, attempt]
    with db.read() as session:
        row = session.execute(select(tables.job.c.attempt, tables.job.c.steps_done, tables.job.c.live_steps)).one()
    assert tuple(row) == (int(attempt) + 1, 0, 0)
    worker.kill()
    worker.communicate()
    assert store_worker.unfinished(db) == 1
