"""The fleet: who is up, what it does, who is gone, and which comparisons wait for a worker that there is not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from alembic.config import Config
from store_samples import (
    EXECUTION,
    SPEC,
    accept,
    at_once,
    claim_next,
    due_ids,
    half_slice,
    lose_workers,
    make_due,
    whole_slice,
)

from workers.store import fleet, jobs
from workers.store.database import MIGRATIONS, Database, open_database
from workers.store.fleet import Present, Waiting, Worker
from workers.store.turns import CPU, CUDA

NOW = datetime.now(UTC)
LEASE = 10.0


def worker(name: str = "w", **changes: object) -> Worker:
    known = Worker(
        name=name,
        host="h",
        pid=1,
        device="cpu",
        device_name="a processor",
        cores=2,
        memory_bytes=2**40,
        torch="2.13.0",
        matmul_flops_per_second=1e11,
        started_at=NOW,
        seen_at=NOW,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def names(db: Database, seconds: float = 0.0) -> list[str]:
    now = NOW + timedelta(seconds=seconds)
    return [one.worker.name for one in fleet.present(db, now=now, lease_seconds=LEASE)]


def waiting(db: Database, *ids: str, seconds: float = 0.0) -> dict[str, Waiting]:
    now = datetime.now(UTC) + timedelta(seconds=seconds)
    return fleet.waiting(db, list(ids or ("c",)), now=now, lease_seconds=LEASE)


def queues(db: Database) -> list[str]:
    return [job.queue for job in jobs.due(db, now=datetime.now(UTC), limit=9)]


def test_an_older_record_gets_its_fleet(database_url: str) -> None:
    """The migrations add their tables and leave what there was."""
    older = open_database(database_url)
    accept(older, "kept")
    with older.write() as session:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = session
        command.downgrade(config, "0001")
    older.close()
    newer = open_database(database_url)
    fleet.appear(newer, worker(seen_at=datetime.now(UTC)))
    assert names(newer) == ["w"]
    assert waiting(newer, "kept") == {}
    newer.close()


# who is up


def test_a_worker_is_known_as_it_says(db: Database) -> None:
    """Every number comes back, large ones too; saying it again changes the row, and there is still one."""
    fleet.appear(db, worker())
    later = worker(seen_at=NOW + timedelta(seconds=1), matmul_flops_per_second=5e14, device="cuda")
    fleet.appear(db, later)
    assert fleet.present(db, now=NOW, lease_seconds=LEASE) == [Present(later, None, None)]


def test_workers_stand_in_the_order_of_their_start(db: Database) -> None:
    """The list stays put while they renew their rows."""
    fleet.appear(db, worker("b", started_at=NOW + timedelta(seconds=1)))
    fleet.appear(db, worker("c"))
    fleet.appear(db, worker("a"))
    assert names(db) == ["a", "c", "b"]


def test_a_silent_worker_is_gone_after_three_leases(db: Database) -> None:
    """It is not listed from then on, its row goes with the next clearing, and it is back when it speaks again."""
    fleet.appear(db, worker("silent"))
    fleet.appear(db, worker("alive", seen_at=NOW + timedelta(seconds=29)))
    assert names(db, 30) == ["alive", "silent"]
    assert fleet.forget_silent(db, now=NOW + timedelta(seconds=30), lease_seconds=LEASE) == 0
    assert names(db, 31) == ["alive"]
    assert fleet.forget_silent(db, now=NOW + timedelta(seconds=31), lease_seconds=LEASE) == 1
    assert names(db) == ["alive"]
    fleet.appear(db, worker("silent", seen_at=NOW + timedelta(seconds=32)))
    assert names(db, 32) == ["alive", "silent"]


def test_a_worker_that_ends_leaves(db: Database) -> None:
    """At once, and only that one; leaving twice is no error."""
    fleet.appear(db, worker("a"))
    fleet.appear(db, worker("b"))
    fleet.leave(db, "a")
    fleet.leave(db, "a")
    assert names(db) == ["b"]


def test_workers_appear_at_the_same_moment(db: Database) -> None:
    """Eight at once, each again and again: eight rows."""

    def come(index: int) -> None:
        for _ in range(5):
            fleet.appear(db, worker(f"w{index}"))

    at_once(8, come)
    assert len(names(db)) == 8


def test_what_a_worker_has_is_told(db: Database) -> None:
    """From its claim to its commit; a job it lost and another has is the other's, a newer one of its own counts."""
    for name in ("w", "again"):
        fleet.appear(db, worker(name))
    accept(db, "c", shards=2)
    lost = claim_next(db, lease_seconds=1)

    def told() -> list[str | None]:
        assert {one.comparison_id for one in found()} <= {None, "c"}
        return [one.job_id for one in found()]

    def found() -> list[Present]:
        return fleet.present(db, now=NOW, lease_seconds=LEASE)

    assert told() == [None, lost.job_id]
    newer = claim_next(db)
    assert told() == [None, newer.job_id]
    jobs.commit_slice(db, newer, whole_slice(newer))
    assert lose_workers(db) == 1
    assert told() == [None, None]
    taken = jobs.claim(db, lost.job_id, worker="again", lease_seconds=60)
    assert taken is not None
    assert told() == [taken.job_id, None]


# who waits for a worker that there is not


def test_everything_waits_where_nobody_is_up(db: Database) -> None:
    """A comparison waits for any worker from its acceptance on, with a worker no more; another's waiting is not its own."""
    record = accept(db, "c")
    accept(db, "other")
    assert waiting(db) == {"c": Waiting("any", waiting(db)["c"].since)}
    assert timedelta() <= waiting(db)["c"].since - record.created_at < timedelta(seconds=5)
    assert waiting(db, "c", "other").keys() == {"c", "other"}
    fleet.appear(db, worker(seen_at=datetime.now(UTC)))
    assert waiting(db, "c", "other") == {}
    assert waiting(db, seconds=31)["c"].worker == "any"  # by then it is gone


def test_cuda_waits_for_a_worker_with_a_card(db: Database) -> None:
    """Workers without one are no help, whatever else they can do."""
    for device in ("auto", "cpu", "cuda"):
        accept(db, device, device=device, spec=SPEC.model_dump(mode="json"))
    fleet.appear(db, worker("plain", seen_at=datetime.now(UTC)))
    assert {name: found.worker for name, found in waiting(db, "auto", "cpu", "cuda").items()} == {"cuda": "cuda"}
    fleet.appear(db, worker("card", device="cuda", seen_at=datetime.now(UTC)))
    assert waiting(db, "auto", "cpu", "cuda") == {}
    fleet.leave(db, "plain")
    assert waiting(db, "auto", "cpu", "cuda") == {}  # a worker with a card takes everything


def test_what_a_worker_has_does_not_wait(db: Database) -> None:
    """Neither does what backs off."""
    accept(db)
    claim = claim_next(db)
    assert waiting(db) == {}
    jobs.fail_attempt(db, claim, code="trainer_died", message="it died", progressed=False)
    assert waiting(db) == {}
    make_due(db)
    assert waiting(db)["c"].worker == "any"


def test_one_with_a_card_is_missing_where_one_part_needs_it(db: Database) -> None:
    """A shard frozen on a card that is gone: its sister may run anywhere, but a worker with a card is what helps both."""
    accept(db, shards=2)
    claim = claim_next(db)
    jobs.freeze_execution(db, claim, EXECUTION.model_copy(update={"device": "cuda"}))
    since = waiting(db)["c"].since
    assert waiting(db)["c"].worker == "any"
    jobs.commit_slice(db, claim, half_slice())
    assert waiting(db) == {"c": Waiting("cuda", since)}


# where messages go


def test_each_device_has_its_queue(db: Database) -> None:
    """`cuda` goes to the workers with a card only; what may run anywhere is every worker's."""
    accept(db, "anywhere")
    assert queues(db) == [CPU]
    accept(db, "plain", device="cpu")
    assert queues(db) == [CPU, CPU]
    accept(db, "card", device="cuda")
    assert queues(db) == [CPU, CPU, CUDA]
    plain = due_ids(db)[0]
    taken = [jobs.claim_in_turn(db, plain, worker="w", lease_seconds=60) for _ in range(3)]
    assert [claim.comparison_id if claim else None for claim in taken] == ["anywhere", "plain", None]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_shard_returns_to_its_kind_of_device(db: Database, device: str) -> None:
    """What may run anywhere is its first worker's kind from then on: after a slice, a failure and a lost worker."""
    home = {"cpu": CPU, "cuda": CUDA}[device]
    accept(db)
    claim = claim_next(db)
    jobs.freeze_execution(db, claim, EXECUTION.model_copy(update={"device": device}))
    jobs.commit_slice(db, claim, half_slice())
    assert queues(db) == [home]
    claim = claim_next(db)
    jobs.fail_attempt(db, claim, code="trainer_died", message="it died", progressed=True)
    make_due(db)
    assert queues(db) == [home]
    claim = claim_next(db)
    assert lose_workers(db) == 1
    assert queues(db) == [home]
    claim = claim_next(db)
    assert claim.execution is not None
    assert claim.execution.device == device


def test_a_lost_worker_that_chose_nothing_leaves_the_choice(db: Database) -> None:
    """A shard whose first worker fell silent before it began may run anywhere still."""
    accept(db)
    claim_next(db)
    assert lose_workers(db) == 1
    assert queues(db) == [CPU]


def test_a_decision_is_everybodys(db: Database) -> None:
    """The round of a comparison on CUDA is closed by whichever worker comes."""
    accept(db, device="cuda")
    claim = claim_next(db)
    jobs.commit_slice(db, claim, whole_slice(claim))
    assert queues(db) == [CPU]


@pytest.mark.parametrize(
    ("on", "mine", "theirs", "order"),
    [
        ("cpu", "auto", "cuda", "continue"),
        ("cpu", "auto", "cpu", "yield"),
        ("cuda", "cuda", "auto", "yield"),
        ("cuda", "cuda", "cpu", "yield"),
        ("cuda", "cpu", "cuda", "yield"),
        ("cuda", "cuda", "cuda", "yield"),
    ],
)
def test_a_slice_makes_room_for_what_its_worker_could_take(
    db: Database, on: str, mine: str, theirs: str, order: str
) -> None:
    """A worker with a card serves both queues: neither waits until the other is empty."""
    fleet.appear(db, worker(device=on))
    accept(db, "mine", device=mine)
    claim = claim_next(db)
    accept(db, "theirs", device=theirs)
    assert jobs.renew(db, claim, live_steps=0, lease_seconds=60) == order
