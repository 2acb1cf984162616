"""Real workers: they say what they are, what they do and that they end; a request that needs a card is left to those with one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from service.client import Client
from service.embedded import Stack
from service.guarded import Guarded
from workers.store.turns import CPU, CUDA

SPEC: dict[str, Any] = {
    "problem": "wine",
    "network": {"kind": "mlp", "depth": 2, "width": 8, "activation": "sigmoid"},
    "optimizers": ["rmsprop"],
    "tuning": None,
    "seeds": 2,
    "steps": 20,
    "batch_size": 32,
}
PATIENCE = 180.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With a worker that believes it has a card, which torch knows nothing of."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PLUMBLINE_LEASE_SECONDS", "2")
        environment.setenv("CUDA_VISIBLE_DEVICES", "GPU-of-another-machine")
        with Stack(tmp_path_factory.mktemp("fleet")) as running:
            yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as speaking:
        yield speaking


def workers(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{stack.url}/v1/workers").raise_for_status().json()["items"]
    return found


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives once it gives something."""
    patience = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < patience
        time.sleep(0.05)
    return found


def only(stack: Stack) -> dict[str, Any]:
    """The one worker, once it is up."""
    (found,) = until(lambda: workers(stack))
    return dict(found)


def submit(client: Client, **changes: Any) -> str:
    return str(client.submit(json.dumps({**SPEC, **changes}).encode())["id"])


def status(client: Client, comparison: str) -> str:
    return str(client.comparison(comparison)["status"])


def test_a_worker_says_what_it_is(stack: Stack) -> None:
    """Its process, its device as torch sees it, and the speed its trainer measured."""
    found = only(stack)
    (celery,) = psutil.Process(stack.worker.guardian_pid).children()
    assert found["pid"] == celery.pid
    assert (found["device"], found["comparison"]) == ("cpu", None)
    assert found["device_name"]
    assert found["cores"] == len(os.sched_getaffinity(0)) if sys.platform == "linux" else found["cores"] >= 1
    assert 2**28 < found["memory_bytes"] <= psutil.virtual_memory().total
    assert 1e7 < found["matmul_flops_per_second"] < 1e15
    assert found["torch"][0].isdigit()
    assert found["started_at"] < found["seen_at"]


def test_a_card_that_torch_cannot_use_is_given_back(stack: Stack) -> None:
    """The worker says so and trains on the CPU; one that is to insist on CUDA ends with one line."""
    only(stack)
    locks = list(Path(stack.environment["PLUMBLINE_LOCKS"]).iterdir())
    assert [lock.name for lock in locks] == ["GPU-of-another-machine.lock"]
    insisting = {**os.environ, **stack.environment, "PLUMBLINE_DEVICE": "cuda"}
    command = [sys.executable, "-m", "workers"]
    ended = subprocess.run(command, env=insisting, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("plumbline worker: torch cannot use the CUDA card GPU-of-another-machine")
    assert len(ended.stderr.splitlines()) == 1


def test_a_worker_says_what_it_does(stack: Stack, client: Client) -> None:
    """While it trains it is heard of and names its comparison; then it is idle again."""
    only(stack)
    comparison = submit(client, steps=500_000)
    found = until(lambda: [one for one in workers(stack) if one["comparison"] == comparison])
    until(lambda: only(stack)["seen_at"] > found[0]["seen_at"])
    assert client.comparison(comparison)["progress"]["waiting"] is None
    client.cancel(comparison)
    until(lambda: only(stack)["comparison"] is None)


def test_what_needs_a_card_is_left_to_those_with_one(stack: Stack, client: Client) -> None:
    """It is sent to their queue and no other, the worker without a card goes on with other things, and the status says so."""
    only(stack)
    broker = stack.environment["PLUMBLINE_BROKER_URL"].removeprefix("redis+socket://")
    needs = submit(client, device="cuda")
    waiting = client.comparison(needs)["progress"]["waiting"]
    assert (waiting["worker"], "CUDA card" in waiting["message"]) == ("cuda", True)
    with redis.Redis(unix_socket_path=broker) as queues:
        until(lambda: queues.llen(CUDA) == 1)
        anywhere = [submit(client, device=device) for device in ("auto", "cpu")]
        until(lambda: {status(client, one) for one in anywhere} == {"succeeded"})
        assert (queues.llen(CUDA), queues.llen(CPU)) == (1, 0)
    assert status(client, needs) == "queued"
    client.cancel(needs)


def test_a_pool_child_that_takes_anothers_place_is_the_same_worker(stack: Stack, client: Client) -> None:
    """Killed in mid-slice, it comes back under its name, and goes on."""
    before = only(stack)
    comparison = submit(client, steps=500_000)
    until(lambda: client.comparison(comparison)["progress"]["steps_done"])
    (child,) = psutil.Process(before["pid"]).children()
    child.kill()
    child.wait(PATIENCE)
    killed = only(stack)["seen_at"]
    until(lambda: only(stack)["seen_at"] > killed)
    after = only(stack)
    assert (after["name"], after["started_at"]) == (before["name"], before["started_at"])
    client.cancel(comparison)
    until(lambda: client.comparison(comparison)["result"])


def test_workers_that_end_are_not_listed(stack: Stack, client: Client, tmp_path: Path) -> None:
    """One that is asked to end leaves at once, a killed one is gone after three leases, and then everything waits for one."""
    stays = only(stack)["name"]
    other = Guarded([sys.executable, "-m", "workers"], log=tmp_path / "log", environment=stack.environment)
    other.start()
    try:
        (second,) = until(lambda: [one for one in workers(stack) if one["name"] != stays])
        psutil.Process(second["pid"]).send_signal(signal.SIGTERM)
        psutil.Process(second["pid"]).wait(PATIENCE) if psutil.pid_exists(second["pid"]) else None
        assert [one["name"] for one in workers(stack)] == [stays]
    finally:
        other.stop()
    stack.worker.wanted = False
    psutil.Process(only(stack)["pid"]).kill()
    until(lambda: not workers(stack))
    comparison = submit(client)
    assert client.comparison(comparison)["progress"]["waiting"]["message"] == "no worker is up: start one"
    stack.worker.start()
    until(lambda: status(client, comparison) == "succeeded")
    assert client.comparison(comparison)["progress"]["waiting"] is None


def test_compare_says_what_it_waits_for(tmp_path: Path) -> None:
    """On a machine without a card, `device: cuda` is told from the first on to need one; Ctrl-C ends the waiting."""
    (tmp_path / "spec.json").write_text(json.dumps({**SPEC, "device": "cuda"}))
    command = [sys.executable, "-m", "service", "compare", str(tmp_path / "spec.json"), "--out", str(tmp_path)]
    environment = {**os.environ, "PLUMBLINE_DEVICE": "cpu", "COLUMNS": "200", "FORCE_COLOR": "1"}
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            while "waiting for a worker with a CUDA card" not in said:
                letter = process.stdout.read(1)
                assert letter, said
                said += letter
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 130
