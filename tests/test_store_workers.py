"""Eight worker processes on one record, some of which are killed or wake up too late: every job ends once."""

import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import store_worker
from sqlalchemy import Row, func, select, text
from store_samples import STEPS, accept, found

from workers.store import comparisons, events, jobs, tables
from workers.store.database import Database
from workers.store.dispatch import publish_due
from workers.store.events import Event
from workers.store.jobs import Claim

SCRIPT = Path(__file__).with_name("store_worker.py")
NAMES = [f"c{index}" for index in range(10)]
SHARDS = 20
CANCELLED = "c9"
WORKERS = 8
VICTIMS = 3
PATIENCE_SECONDS = 120.0
Attempt = tuple[str, int]


class Worker:
    def __init__(self, kind: str, url: str, folder: Path, number: int) -> None:
        self.kind = kind
        self.journal = folder / f"{number}.journal"
        command = [sys.executable, str(SCRIPT), url, str(self.journal), str(folder / "stop"), kind]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.killed = False

    def told(self, event: str) -> list[Attempt]:
        """Attempts of which it noted that."""
        lines = self.journal.read_text().splitlines(keepends=True) if self.journal.exists() else []
        words = [line.split() for line in lines if line.endswith("\n")]
        return [(job_id, int(attempt)) for told, job_id, attempt in words if told == event]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.killed = True

    def stopped(self) -> bool:
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED


class Fleet:
    """Eight workers, however many are killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self.workers: list[Worker] = []
        self.heirs: list[Claim] = []
        """Attempts of the test's own: at the zombie's job, held while the zombie tries to write."""
        for kind in ["zombie", *["victim"] * VICTIMS, *["worker"] * (WORKERS - VICTIMS - 1)]:
            self.start(kind)

    def start(self, kind: str) -> None:
        self.workers.append(Worker(kind, self._url, self._folder, len(self.workers)))

    def replace(self, worker: Worker) -> None:
        worker.kill()
        self.start("worker")

    def told(self, event: str, *, by_killed: bool | None = None) -> list[Attempt]:
        chosen = [worker for worker in self.workers if by_killed in (None, worker.killed)]
        return [attempt for worker in chosen for attempt in worker.told(event)]

    def end(self) -> None:
        """All that live come to their end, none with an error."""
        (self._folder / "stop").touch()
        for worker in self.workers:
            if not worker.killed:
                assert (worker.process.communicate()[1], worker.process.returncode) == ("", 0)


def rows(db: Database, *columns: Any) -> list[Row[Any]]:
    with db.read() as session:
        return list(session.execute(select(*columns)))


def unfinished(db: Database) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).where(tables.job.c.state.in_(["queued", "running"]))) or 0


def is_lost(db: Database, attempt: Attempt) -> bool:
    """Whether another has the job by now, or nobody will: its comparison may have been cancelled."""
    job = tables.job.c
    held = (job.id == attempt[0]) & (job.attempt == attempt[1]) & (job.state == "running")
    with db.read() as session:
        return session.scalar(select(func.count()).where(held)) == 0


def carry_through(db: Database, fleet: Fleet) -> dict[str, list[Event]]:
    """Reaps, sends, cancels, kills and wakes until all is done. Returns the events as one who followed them saw them.

    The zombie's job is claimed here as soon as it is reaped, so that it is in work when the zombie wakes up; unless a worker is
    faster, or its comparison was cancelled.
    """
    chance = random.Random(0)  # noqa: S311 - it has to repeat
    seen: dict[str, list[Event]] = {name: [] for name in NAMES}
    zombie, kills, inherited = fleet.workers[0], 2, False
    patience = time.monotonic() + PATIENCE_SECONDS
    while unfinished(db) or not zombie.told("fenced") + zombie.told("written"):
        assert time.monotonic() < patience, fleet.told("claimed")
        jobs.reap(db, datetime.now(UTC))
        if zombie.stopped():
            attempt = zombie.told("claimed")[-1]
            heir = jobs.claim(db, attempt[0], worker="heir", lease_seconds=PATIENCE_SECONDS)
            fleet.heirs += [heir] if heir else []
            if is_lost(db, attempt):
                zombie.process.send_signal(signal.SIGCONT)
        elif not inherited and zombie.told("fenced") + zombie.told("written"):
            inherited = True
            for heir in fleet.heirs:
                jobs.commit_slice(db, heir, store_worker.train(db, heir, chance))
        publish_due(db, lambda job_id, queue: None)
        for name, so_far in seen.items():
            so_far += events.after(db, name, so_far[-1].id if so_far else 0)
        done = len(fleet.told("committed"))
        for worker in list(fleet.workers):
            if worker.told("waits") and not worker.killed:
                fleet.replace(worker)
        if done > 40 and found(db, CANCELLED).status == "running":
            comparisons.cancel(db, CANCELLED)
        if kills and done > 40:  # wherever they are, in mid-transaction perhaps
            fleet.replace(chance.choice([one for one in fleet.workers if one.kind == "worker" and not one.killed]))
            kills -= 1
        time.sleep(0.05)
    for name, so_far in seen.items():
        so_far += events.after(db, name, so_far[-1].id if so_far else 0)
    return seen


def test_every_job_ends_once(db: Database, database_url: str, tmp_path: Path) -> None:
    """200 shards, eight processes: five are killed, one is fenced, one comparison is cancelled; the record is as if none were."""
    for name in NAMES:
        accept(db, name, shards=SHARDS)
    fleet = Fleet(database_url, tmp_path)
    try:
        seen = carry_through(db, fleet)
        fleet.end()
    finally:
        for worker in fleet.workers:
            if worker.process.poll() is None:
                worker.kill()

    assert sum(worker.killed for worker in fleet.workers) == VICTIMS + 2
    assert_every_job_ended_once(db)
    assert_lost_attempts_wrote_nothing(db, fleet)
    for name in NAMES:
        assert seen[name] == events.after(db, name, 0, limit=10_000)
        statuses = [event.data["status"] for event in seen[name] if event.kind == "status"]
        assert statuses == ["queued", "running", "cancelled" if name == CANCELLED else "succeeded"]
        assert [event.kind for event in seen[name]].count("ranking") == 1
    if db.engine.dialect.name == "postgresql":
        with db.read() as session:
            query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert session.scalar(text(query)) == 0


def assert_every_job_ended_once(db: Database) -> None:
    """Its parts follow each other from the first step to the last, and its outcome is that of the attempt that was last."""
    losses = {trial.job_id: trial.test_loss for name in NAMES for trial in comparisons.trials(db, name)}
    chains: dict[str, list[Row[Any]]] = defaultdict(list)
    for part in sorted(rows(db, tables.part), key=lambda part: part.first_step):
        chains[part.job_id].append(part)
    found_jobs = rows(db, tables.job)
    shards = [job for job in found_jobs if job.kind == "shard"]
    decisions = [job for job in found_jobs if job.kind == "decision"]
    assert len(shards) == len(NAMES) * SHARDS
    for job in shards:
        assert job.state == "succeeded" or (job.comparison_id, job.state) == (CANCELLED, "cancelled")
        chain = chains[job.id]
        steps = [0, *(part.last_step for part in chain)]
        assert [part.first_step for part in chain] == steps[:-1]
        assert steps[-1] == job.steps_done
        attempts = [attempt_of(part.path)[1] for part in chain]
        assert attempts == sorted(set(attempts))
        if job.state == "succeeded":
            assert (job.steps_done, attempts[-1], losses[job.id]) == (STEPS, job.attempt, float(job.attempt))
    assert sorted(job.comparison_id for job in decisions) == NAMES
    for job in decisions:
        result = found(db, job.comparison_id).result
        assert result is not None
        assert (job.state, result["attempt"]) == ("succeeded", job.attempt)


def assert_lost_attempts_wrote_nothing(db: Database, fleet: Fleet) -> None:
    """What is recorded is what was committed; those who were killed may not have come to note their last commit."""
    recorded = {attempt_of(part.path) for part in rows(db, tables.part)}
    committed = fleet.told("committed")
    assert len(committed) == len(set(committed))
    assert set(committed) <= recorded
    heirs = {(heir.job_id, heir.attempt) for heir in fleet.heirs}
    assert heirs <= recorded
    assert recorded - set(committed) - heirs <= set(fleet.told("claimed", by_killed=True))
    assert fleet.told("written") == []
    assert len(fleet.told("fenced")) == 1
    assert len(fleet.told("waits")) == VICTIMS
    assert recorded.isdisjoint([*fleet.told("lost"), *fleet.told("fenced"), *fleet.told("waits")])


def attempt_of(path: str) -> Attempt:
    job_id, attempt = path.split("-")
    return job_id, int(attempt)
