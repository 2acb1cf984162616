"""Whatever is killed in mid-training, a comparison ends with the numbers of an undisturbed run, bit for bit.

One real stack: Valkey, Celery worker, trainer, HTTP. Slices and leases are short, so that every run is many slices.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.client import Client
from service.embedded import Stack
from service.guarded import Guarded

SPEC: dict[str, Any] = {
    "problem": "digits",
    "network": {"kind": "mlp", "depth": 4, "width": 32, "activation": "sigmoid"},
    "optimizers": ["sgd", "rmsprop", {"kind": "rprop", "batch_size": 64}, "vsgd_fd"],
    "tuning": None,
    "seeds": 2,
    "steps": 800,
    "batch_size": 64,
    "record": {"points": 30, "spacing": "linear"},
}


class Numbers(NamedTuple):
    statistics: pa.Table
    trials: list[dict[str, Any]]
    """With curves, test losses and outcomes."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recovery")


@pytest.fixture(scope="module")
def stack(data: Path) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PLUMBLINE_SLICE_SECONDS", "0.6")
        environment.setenv("PLUMBLINE_LEASE_SECONDS", "2")
        with Stack(data) as running:
            yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as speaking:
        yield speaking


@pytest.fixture(scope="module")
def undisturbed(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    return numbers(client, submit(client), tmp_path_factory.mktemp("undisturbed"))


def submit(client: Client, **changes: Any) -> str:
    return str(client.submit(json.dumps({**SPEC, **changes}).encode())["id"])


def numbers(client: Client, comparison: str, folder: Path) -> Numbers:
    """What the comparison found, once it has ended."""
    for _ in client.events(comparison):
        pass
    ended = client.comparison(comparison)
    assert ended["status"] == "succeeded", ended["error"]
    client.download(f"/v1/comparisons/{comparison}/statistics", folder / "statistics.parquet", format="parquet")
    table = pq.read_table(folder / "statistics.parquet")
    return Numbers(table, client.trials(comparison)["trials"])


def assert_same(found: Numbers, expected: Numbers) -> None:
    """Equal to the last bit, NaN included."""
    assert found.statistics.schema == expected.statistics.schema
    for name in expected.statistics.column_names:
        own, other = (table.column(name).combine_chunks() for table in (found.statistics, expected.statistics))
        if pa.types.is_floating(own.type):
            own, other = (column.fill_null(0).view(pa.int64()) for column in (own, other))
        assert own.equals(other), name
    assert found.trials == expected.trials


def progressed(client: Client, comparison: str, *, after: str = "", events: int = 2) -> str:
    """Returns when the comparison is being trained: at that many events of progress after an event, with the last one's id."""
    for event in client.events(comparison, after=after):
        events -= event.kind == "progress" and event.data["steps_done"] > 0
        if events <= 0:
            return event.id
    raise AssertionError("the comparison ended before it could be disturbed")


class Family(NamedTuple):
    """The processes of a worker."""

    celery: psutil.Process
    child: psutil.Process
    trainer: psutil.Process


def family(worker: Guarded) -> Family:
    """The worker's processes, once there are all three."""
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        try:
            (celery,) = psutil.Process(worker.guardian_pid).children()
            (child,) = celery.children()
            (trainer,) = child.children()
            return Family(celery, child, trainer)
        except (ValueError, psutil.NoSuchProcess):
            time.sleep(0.05)
    raise AssertionError("the worker has not all of its processes")


def kill_trainer(stack: Stack) -> None:
    family(stack.worker).trainer.kill()


def kill_pool_child(stack: Stack) -> None:
    family(stack.worker).child.kill()


def kill_worker(stack: Stack) -> None:
    family(stack.worker).celery.kill()


def kill_broker(stack: Stack) -> None:
    assert stack.server is not None
    for server in psutil.Process(stack.server.guardian_pid).children():
        server.kill()


@pytest.mark.parametrize("kill", [kill_trainer, kill_pool_child, kill_worker, kill_broker])
def test_a_kill_changes_no_number(
    stack: Stack, client: Client, undisturbed: Numbers, tmp_path: Path, kill: Callable[[Stack], None]
) -> None:
    """SIGKILL in mid-slice, twice: the comparison ends as if nothing had happened."""
    comparison, seen = submit(client), ""
    for _ in range(2):
        seen = progressed(client, comparison, after=seen)
        kill(stack)
    assert_same(numbers(client, comparison, tmp_path), undisturbed)


def test_runs_what_was_accepted_while_the_broker_was_down(
    stack: Stack, client: Client, undisturbed: Numbers, tmp_path: Path
) -> None:
    """Accepting needs the database only; the message follows when the broker is back, with none of its data."""
    assert stack.server is not None
    stack.server.stop()
    comparison = submit(client)
    stack.server.start()
    assert_same(numbers(client, comparison, tmp_path), undisturbed)


def test_runs_what_was_accepted_while_no_worker_was_up(
    stack: Stack, client: Client, undisturbed: Numbers, tmp_path: Path
) -> None:
    """A comparison waits for a worker."""
    stack.worker.stop()
    comparison = submit(client)
    stack.worker.start()
    assert_same(numbers(client, comparison, tmp_path), undisturbed)


def frozen_between_transactions(stack: Stack, data: Path) -> Family:
    """The worker's processes, stopped where none of them holds the lock of the database: SQLite leaves it with a process that is
    stopped, for everybody else to wait for; a lease is of no help there.
    """
    for _ in range(100):
        processes = family(stack.worker)
        for process in reversed(processes):
            process.suspend()
        database = sqlite3.connect(f"file:{data / 'plumbline.db'}?mode=rw", timeout=0, isolation_level=None, uri=True)
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
            return processes
        except sqlite3.OperationalError:
            for process in processes:
                process.resume()
            time.sleep(0.05)
        finally:
            database.close()
    raise AssertionError("the database was locked each time")


def test_a_frozen_worker_that_wakes_up_does_no_harm(
    stack: Stack, client: Client, data: Path, undisturbed: Numbers, tmp_path: Path
) -> None:
    """A worker stopped past its lease loses the job to another; awake again, it finds its claim lost and drops its slice."""
    comparison = submit(client)
    seen = progressed(client, comparison)
    frozen = frozen_between_transactions(stack, data)
    other = Guarded([sys.executable, "-m", "workers"], log=tmp_path / "log", environment=stack.environment)
    try:
        other.start()
        progressed(client, comparison, after=seen)
        for process in frozen:
            process.resume()
        assert_same(numbers(client, comparison, tmp_path), undisturbed)
    finally:
        other.stop()


def test_cancelling_frees_the_worker_and_keeps_what_there_is(client: Client, tmp_path: Path) -> None:
    """A cancelled comparison has statistics and a partial result, and the worker goes on to the next."""
    comparison = submit(client, steps=500_000)
    progressed(client, comparison)
    assert client.cancel(comparison)["status"] == "cancelled"
    numbers(client, submit(client, steps=20), tmp_path)
    cancelled = client.comparison(comparison)
    assert cancelled["status"] == "cancelled"
    assert cancelled["result"]["partial"]
    client.download(f"/v1/comparisons/{comparison}/statistics", tmp_path / "partial.parquet", format="parquet")
    assert pq.read_metadata(tmp_path / "partial.parquet").num_rows > 0


def test_small_comparisons_do_not_wait_for_large_ones(client: Client, tmp_path: Path) -> None:
    """A comparison that comes second is trained in between the slices of the first."""
    large = submit(client, steps=500_000)
    progressed(client, large)
    numbers(client, submit(client, steps=20), tmp_path)
    assert client.comparison(large)["status"] == "running"
    client.cancel(large)


def test_a_restarted_stack_goes_on_where_it_stopped(
    data: Path, stack: Stack, undisturbed: Numbers, tmp_path: Path
) -> None:
    """A comparison interrupted by a stop of everything is taken up by the next start, and ends the same."""
    folder = data.parent / f"{data.name}-restarted"
    with Stack(folder) as first, Client(first.url) as client:
        comparison = submit(client)
        progressed(client, comparison)
    with Stack(folder) as second, Client(second.url) as client:
        assert client.comparison(comparison)["status"] == "running"
        assert_same(numbers(client, comparison, tmp_path), undisturbed)
