"""Small comparisons for tests of the store, accepted without the service and worked on without a trainer."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Execution, Shard, Trial
from workers.contract.shapes import expand
from workers.store import comparisons, jobs, tables
from workers.store.comparisons import ComparisonRecord, NewRound
from workers.store.database import Database, open_database
from workers.store.jobs import Claim, Slice, TrialOutcome

SPEC = ComparisonSpec.model_validate(
    {"problem": "wine", "network": {"kind": "mlp", "depth": 1, "width": 2}, "optimizers": ["sgd"], "tuning": None}
)
EXECUTION = Execution(device="cpu", threads=1, chunks=[1])
RESULT: dict[str, Any] = {"baseline": "sgd", "partial": False, "arms": []}
STEPS = 10


def opened(folder: Path) -> Database:
    return open_database(f"sqlite:///{folder / 'plumbline.db'}")


def shard(*trials: int, device: str = "auto") -> Shard:
    """A shard of STEPS steps with these trials."""
    planned = [
        Trial(
            trial=trial,
            variant="base",
            optimizer="sgd",
            kind="sgd",
            hyperparameters={"lr": 0.1},
            seed=trial,
            role="final",
        )
        for trial in trials
    ]
    return Shard(
        problem=SPEC.problem,
        variant="base",
        network=expand(SPEC.network, SPEC.problem.shape, SPEC.problem.output_shape),
        trials=planned,
        batch_size=32,
        pattern="one_gradient",
        precision="float32",
        steps=STEPS,
        recorded=[0, STEPS],
        device=device,
    )


def accept(db: Database, comparison_id: str = "c", *, shards: int = 1, **changes: Any) -> ComparisonRecord:
    """Shards of one trial each."""
    return accept_either(db, comparison_id, shards=shards, **changes)[0]


def accept_either(
    db: Database, comparison_id: str = "c", *, shards: int = 1, device: str = "auto", **changes: Any
) -> tuple[ComparisonRecord, bool]:
    given: dict[str, Any] = {
        "spec": SPEC.model_dump(mode="json"),
        "labels": {},
        "round_": NewRound(0, "final", [shard(trial, device=device) for trial in range(shards)]),
        "steps_total": shards * STEPS,
        "trials_total": shards,
        "idempotency_key": None,
        "body_hash": "",
    }
    return comparisons.accept(db, comparison_id=comparison_id, **given | changes)


def found(db: Database, comparison_id: str = "c") -> ComparisonRecord:
    record = comparisons.find(db, comparison_id)
    assert record is not None
    return record


def due_ids(db: Database, *, in_seconds: float = 0.0, limit: int = 100) -> list[str]:
    return [job.id for job in jobs.due(db, now=datetime.now(UTC) + timedelta(seconds=in_seconds), limit=limit)]


def claim_next(db: Database, *, lease_seconds: float = 60.0) -> Claim:
    """The next job in its turn, claimed."""
    for job_id in due_ids(db):
        claim = jobs.claim(db, job_id, worker="w", lease_seconds=lease_seconds)
        if claim is not None:
            return claim
    raise AssertionError("nothing is due")


def whole_slice(claim: Claim, **changes: Any) -> Slice:
    """A slice that finishes the shard."""
    assert claim.shard is not None
    ended = [TrialOutcome(trial.trial, "completed", None, 0.5, 0.75) for trial in claim.shard.trials]
    given = {"steps_done": STEPS, "finished": True, "checkpoint": None, "parts": [], "trials": ended}
    return Slice(**given | changes)


def half_slice(**changes: Any) -> Slice:
    """A slice that leaves half of the shard to do."""
    given: dict[str, Any] = {
        "steps_done": 5,
        "finished": False,
        "checkpoint": "checkpoints/x",
        "parts": [],
        "trials": [],
    }
    return Slice(**given | changes)


def finish(db: Database, comparison_id: str = "c") -> None:
    """Carries the only comparison to its end."""
    while found(db, comparison_id).status in ("queued", "running"):
        claim = claim_next(db)
        if claim.kind == "shard":
            jobs.commit_slice(db, claim, whole_slice(claim))
        else:
            jobs.close_round(db, claim, result=RESULT, next_round=None, status="succeeded")


def states(db: Database, kind: str) -> list[str]:
    """Of all jobs of a kind, in the order of their rounds."""
    job = tables.job.c
    with db.read() as session:
        return list(session.scalars(select(job.state).where(job.kind == kind).order_by(job.round, job.position)))


def make_due(db: Database) -> None:
    """Ends every back-off."""
    with db.write() as session:
        session.execute(update(tables.job).values(due_at=datetime.now(UTC)))


def lose_workers(db: Database) -> int:
    """Every lease runs out and is reaped; what was lost is due. Returns how many jobs that were."""
    reaped = len(jobs.reap(db, datetime.now(UTC) + timedelta(hours=1)))
    make_due(db)
    return reaped


def at_once(count: int, action: Callable[[int], object]) -> list[Any]:
    """What `action(0)` … `action(count − 1)` return, run by as many threads that start together."""
    ready = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        ready.wait()
        results[index] = action(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
