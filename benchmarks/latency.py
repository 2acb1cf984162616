"""From POST, and from taking a shard, to the first training step, from cancelling to the partial result, and memory: real processes.

    python -m benchmarks.latency [submissions]

The first is from before the request is sent until the commit that tells of the first step: HTTP, validation, the database,
the queue, claiming, building the network and its data, and one step of all trials. The next is from the commit that claims a
shard, a hundred layers and 40 trials, until the commit that tells of its first step: of a worker that has just started and of
one that has trained before. The third is from before cancelling, in mid-slice, until the trainer has stopped, its last slice is
merged and the partial result is in the answer. Memory is the peak
of each process's resident set, after all that and one run of the example. A preview is a request like any other, of a hundred
layers, to a service that trains nothing at the time.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from service.client import Client
from workers.store import events
from workers.store.database import open_database

EXAMPLE = Path(__file__).parents[1] / "examples" / "sigmoid-digits.json"


def main() -> None:
    submissions = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    example = json.loads(EXAMPLE.read_text())
    small = {**example, "optimizers": ["rmsprop"], "tuning": None, "seeds": 1, "steps": 10}
    deep = {**small, "network": {"kind": "mlp", "depth": 100, "width": 64}, "optimizers": ["sgd", "adam"], "seeds": 20}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
            assert launcher.stdout is not None
            url = next(word for word in launcher.stdout.readline().split() if word.startswith("http"))
            try:
                with Client(url) as client:
                    fresh, *warm = [first_step(client, deep, Path(folder)).since_claimed for _ in range(6)]
                    seconds = [first_step(client, small, Path(folder)).since_sent for _ in range(submissions)]
                    previews = [preview(client, example) for _ in range(200)]
                    cancelled = [cancel(client, {**example, "steps": 500_000}) for _ in range(10)]
                    finish(client, example)
                peaks = {name: peak_bytes(process) for name, process in processes(launcher.pid).items()}
            finally:
                launcher.terminate()
    cut = statistics.quantiles(seconds, n=20, method="inclusive")
    print("Taking a shard, depth 100 and 40 trials, to its first training step:")
    print(f"  fresh worker {1000 * fresh:.0f} ms, warm worker p50 {1000 * statistics.median(warm):.0f} ms")
    print(f"POST to first training step, warm worker, {submissions} submissions one after another:")
    print(f"  p50 {1000 * statistics.median(seconds):.0f} ms, p95 {1000 * cut[-1]:.0f} ms")
    cut = statistics.quantiles(previews, n=20, method="inclusive")
    print(f"Previews of a hundred layers, every one of other weights, {len(previews)} one after another:")
    print(f"  p50 {1000 * statistics.median(previews):.0f} ms, p95 {1000 * cut[-1]:.0f} ms")
    print(f"Cancelling in mid-slice to the partial result, {len(cancelled)} times:")
    print(f"  median {statistics.median(cancelled):.2f} s, at most {max(cancelled):.2f} s")
    print("Peak resident memory, the example included:")
    for name, peak in peaks.items():
        print(f"  {name:28s}{peak / 2**20:7.0f} MiB")


class FirstStep(NamedTuple):
    """Seconds until the commit that tells of it."""

    since_sent: float
    since_claimed: float


def first_step(client: Client, spec: dict[str, object], data: Path) -> FirstStep:
    """Submits, waits for the end, looks up when it began."""
    sent = datetime.now(UTC)
    comparison = finish(client, spec)
    database = open_database(f"sqlite:///{data / 'plumbline.db'}")
    try:
        told = list(events.after(database, comparison, 0))
    finally:
        database.close()
    claimed = next(event for event in told if event.data.get("status") == "running")
    stepped = next(event for event in told if event.data.get("steps_done"))
    return FirstStep(*((stepped.created_at - start).total_seconds() for start in (sent, claimed.created_at)))


def finish(client: Client, spec: dict[str, object]) -> str:
    """Submits and waits for the end."""
    comparison = str(client.submit(json.dumps(spec).encode())["id"])
    for _ in client.events(comparison):
        pass
    return comparison


def preview(client: Client, spec: dict[str, Any]) -> float:
    """Seconds from sending to having it read, of a network like none before, so that nothing of it is cached."""
    gain = 0.9 + 0.2 * random.random()  # noqa: S311 - any number will do
    network = {
        "kind": "mlp",
        "depth": 100,
        "width": 64,
        "activation": "tanh",
        "init": {"kind": "lecun_normal", "gain": gain},
    }
    body = json.dumps({**spec, "network": network}).encode()
    sent = time.perf_counter()
    client.preview(body)
    return time.perf_counter() - sent


def cancel(client: Client, spec: dict[str, object]) -> float:
    """Submits, waits until it trains, cancels. Returns the seconds until what there is of a result can be read."""
    comparison = client.submit(json.dumps(spec).encode())["id"]
    trained = (event for event in client.events(comparison) if event.data.get("steps_done", 0) > 1000)
    next(trained)
    sent = time.perf_counter()
    client.cancel(comparison)
    while client.comparison(comparison)["result"] is None:
        time.sleep(0.01)
    return time.perf_counter() - sent


def processes(launcher: int) -> dict[str, psutil.Process]:
    """The parts of an embedded stack by name."""
    found = {"service": psutil.Process(launcher)}
    for process in found["service"].children(recursive=True):
        words = " ".join(process.cmdline())
        if "service.guardian" in words:
            continue
        if "workers.trainer" in words:
            found["trainer"] = process
        elif "valkey" in words or "redis-server" in words:
            found["embedded server"] = process
        else:
            found["worker's pool child" if "worker" in found else "worker"] = process
    return found


def peak_bytes(process: psutil.Process) -> int:
    """Of the resident set: the kernel's own count where there is one."""
    status = Path(f"/proc/{process.pid}/status")
    if os.access(status, os.R_OK):
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)


if __name__ == "__main__":
    main()
