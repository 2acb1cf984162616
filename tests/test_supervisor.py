"""The supervisor against a stand-in trainer that fails on purpose.

Every failure ends in a committed slice, a failed attempt or a lost claim.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from workers.contract.comparison import ComparisonSpec
from workers.contract.plan import Shard, Trial
from workers.contract.shapes import expand
from workers.settings import Settings
from workers.store import artifacts, comparisons, jobs
from workers.store.comparisons import NewRound
from workers.store.database import Database, open_database
from workers.store.jobs import Claim
from workers.supervisor import Supervisor
from workers.trainer_process import TrainerProcess

STANDIN = (sys.executable, str(Path(__file__).with_name("standin_trainer.py")))
SPEC = ComparisonSpec.model_validate(
    {"problem": "wine", "network": {"kind": "mlp", "depth": 2, "width": 4}, "optimizers": ["sgd"], "tuning": None}
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'plumbline.db'}")
    yield opened
    opened.close()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors of stand-ins and stops them."""
    made: list[Supervisor] = []

    def make(fault: str = "", *, draining: Callable[[], bool] = lambda: False, **settings: float) -> Supervisor:
        environment = {"FAULT": fault, "ONCE": str(tmp_path / "fault-happened")}
        own = Settings(artifacts=tmp_path / "artifacts", **settings)  # type: ignore[arg-type]
        made.append(Supervisor(own, draining=draining, command=STANDIN, environment=environment))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.close()


def accept(db: Database, comparison_id: str, *, steps: int) -> str:
    """One shard of one trial. Returns its job."""
    network = expand(SPEC.network, SPEC.problem.shape, SPEC.problem.output_shape)
    trial = Trial(
        trial=0, variant="base", optimizer="sgd", kind="sgd", hyperparameters={"lr": 0.1}, seed=0, role="final"
    )
    shard = Shard(
        problem=SPEC.problem,
        variant="base",
        network=network,
        trials=[trial],
        batch_size=32,
        pattern="one_gradient",
        precision="float32",
        steps=steps,
        recorded=[0, steps],
    )
    comparisons.accept(
        db,
        comparison_id=comparison_id,
        spec=SPEC.model_dump(mode="json"),
        labels={},
        round_=NewRound(number=0, role="final", shards=[shard]),
        steps_total=steps,
        trials_total=1,
        idempotency_key=None,
        body_hash="",
    )
    return next(record.job_id for record in comparisons.trials(db, comparison_id))


def claimed(db: Database, job_id: str) -> Claim:
    """The job's claim, once a back-off after a failed attempt is over."""
    patience = time.monotonic() + 20
    while (claim := jobs.claim(db, job_id, worker="test", lease_seconds=15)) is None:
        assert time.monotonic() < patience
        time.sleep(0.05)
    return claim


def test_trains_a_shard_in_slices(database: Database, supervised: Callable[..., Supervisor]) -> None:
    """A shard longer than a slice goes on from its checkpoint, in the same process, as the same execution."""
    supervisor = supervised(slice_seconds=0.3)
    job, pids, executions = accept(database, "c", steps=60), set(), set()
    while (claim := jobs.claim(database, job, worker="test", lease_seconds=15)) is not None:
        supervisor.train(database, claim)
        pids.add(supervisor.warm().pid)
        executions.add(claim.execution is not None)
    (trial,) = comparisons.trials(database, "c")
    assert (trial.outcome, trial.test_loss) == ("completed", 0.5)
    assert len(pids) == 1
    assert executions == {False, True}


def test_only_the_last_checkpoint_is_kept(
    database: Database, supervised: Callable[..., Supervisor], tmp_path: Path
) -> None:
    """Each committed slice removes what it supersedes, the last one its own, too; what another attempt left goes with it."""
    supervisor = supervised(slice_seconds=0.3)
    job = accept(database, "c", steps=200)
    folder = tmp_path / "artifacts" / "c" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / f"{job}-0-7.pt").write_text("of an attempt that never committed")
    slices = 0
    while (claim := jobs.claim(database, job, worker="test", lease_seconds=15)) is not None:
        assert claim.checkpoint is None or [claim.checkpoint] == [
            f"checkpoints/{path.name}" for path in folder.iterdir()
        ]
        supervisor.train(database, claim)
        slices += 1
    assert slices > 2 and list(folder.iterdir()) == []


def test_a_place_that_is_away_keeps_checkpoints_and_nothing_fails(
    database: Database, supervised: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slice is committed all the same."""

    def away(*_: object, **__: object) -> None:
        raise OSError("the bucket does not answer")

    monkeypatch.setattr(artifacts, "drop_checkpoints", away)
    job = accept(database, "c", steps=20)
    supervised().train(database, claimed(database, job))
    assert comparisons.trials(database, "c")[0].outcome == "completed"


@pytest.mark.parametrize("fault", ["crash", "killed", "garbage", "memory", "hang", "frozen"])
def test_replaces_a_trainer_that_fails(database: Database, supervised: Callable[..., Supervisor], fault: str) -> None:
    """After a failed attempt another process trains the shard to its end."""
    supervisor = supervised(fault, stall_seconds=1)
    job = accept(database, "c", steps=20)
    before = supervisor.warm().pid
    supervisor.train(database, claimed(database, job))
    assert not psutil.pid_exists(before)
    supervisor.train(database, claimed(database, job))
    assert comparisons.trials(database, "c")[0].outcome == "completed"


def test_gives_up_after_three_attempts_without_progress(
    database: Database, supervised: Callable[..., Supervisor], tmp_path: Path
) -> None:
    """A shard that always fails fails its comparison, with the reason."""
    supervisor = supervised("memory")
    job = accept(database, "c", steps=20)
    for _ in range(3):
        (tmp_path / "fault-happened").unlink(missing_ok=True)
        supervisor.train(database, claimed(database, job))
    record = comparisons.find(database, "c")
    assert record is not None
    assert record.status == "failed"
    assert record.error == {"code": "out_of_memory", "message": "not enough memory: 1 TiB asked for"}


@pytest.mark.parametrize("fault", ["", "deaf"])
def test_a_cancelled_slice_ends_and_keeps_its_checkpoint(
    database: Database, supervised: Callable[..., Supervisor], fault: str
) -> None:
    """Cancelling stops a trainer that listens and kills one that does not; neither is trained again."""
    supervisor = supervised(fault)
    job = accept(database, "c", steps=100_000)
    claim = claimed(database, job)
    threading.Timer(0.8, comparisons.cancel, [database, "c"]).start()
    supervisor.train(database, claim)
    record = comparisons.find(database, "c")
    assert record is not None
    assert record.status == "cancelled"
    assert jobs.claim(database, job, worker="test", lease_seconds=15) is None


def test_makes_room_for_others(database: Database, supervised: Callable[..., Supervisor]) -> None:
    """A long slice ends early when another comparison waits, and is due again."""
    supervisor = supervised(slice_seconds=600)
    job = accept(database, "long", steps=100_000)
    claim = claimed(database, job)
    accept(database, "waits", steps=10)
    supervisor.train(database, claim)
    assert 0 < claimed(database, job).steps_done < 100_000


def test_a_draining_worker_commits_what_it_has(database: Database, supervised: Callable[..., Supervisor]) -> None:
    """A worker asked to end gives its slice back with the progress made."""
    asked = threading.Event()
    supervisor = supervised(slice_seconds=600, draining=asked.is_set)
    job = accept(database, "c", steps=100_000)
    claim = claimed(database, job)
    threading.Timer(0.5, asked.set).start()
    supervisor.train(database, claim)
    assert claimed(database, job).steps_done > 0


def test_a_lost_claim_writes_nothing(database: Database, supervised: Callable[..., Supervisor]) -> None:
    """Once another attempt has the job, the trainer of the old one is stopped and its slice dropped."""
    supervisor = supervised(slice_seconds=600)
    job = accept(database, "c", steps=100_000)
    old = jobs.claim(database, job, worker="old", lease_seconds=-1)
    assert old is not None
    before = supervisor.warm().pid
    from datetime import UTC, datetime

    jobs.reap(database, datetime.now(UTC))
    new = claimed(database, job)
    supervisor.train(database, old)
    assert not psutil.pid_exists(before)
    assert jobs.renew(database, new, live_steps=0, lease_seconds=15) == "continue"


@pytest.mark.parametrize(
    ("command", "ready"), [(STANDIN, True), ((sys.executable, "-c", ""), False)], ids=["loads", "dies"]
)
def test_a_worker_can_wait_until_its_trainer_is_ready(command: tuple[str, ...], ready: bool) -> None:
    """Or until there is nothing to wait for. The event is still there for who trains."""
    trainer = TrainerProcess(command)
    try:
        assert trainer.await_ready(600)
        assert (trainer.about is not None) == ready
        if ready:
            assert trainer.next_event(0) == trainer.about
    finally:
        trainer.quit()


def test_a_trainer_dies_with_its_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves no trainer behind: the pipe's end is enough."""
    import subprocess

    program = (
        "import sys, time; from workers.trainer_process import TrainerProcess;"
        f"t = TrainerProcess({STANDIN!r}); print(t.next_event(20)['pid'], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        trainer = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        trainer.wait(timeout=20)
