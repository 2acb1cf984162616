"""From POST to the first training step with a warm worker, from cancelling to the partial result, and memory: real processes.

    python -m benchmarks.latency [submissions]

The first is from before the request is sent until the commit that tells of the first step: HTTP, validation, the database,
the queue, claiming, building the network and its data, and one step of all trials. The second is from before cancelling, in
mid-slice, until the trainer has stopped, its last slice is merged and the partial result is in the answer. Memory is the peak
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
from typing import Any

import psutil

from service.client import Client
from workers.store import events
from workers.store.database import open_database

EXAMPLE = Path(__file__).parents[1] / "examples" / "sigmoid-digits.json"


def main() -> None:
    submissions = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    example = json.loads(EXAMPLE.read_text())
    small = {**example, "optimizers": ["rmsprop"], "tuning": None, "seeds": 1, "steps": 10}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
            assert launcher.stdout is not None
            url = next(word for word in launcher.stdout.readline().split() if word.startswith("http"))
            try:
                with Client(url) as client:
                    run(client, small)  # the worker and its trainer have started once this has ended
                    seconds = [run(client, small, Path(folder)) for _ in range(submissions)]
                    previews = [preview(client, example) for _ in range(200)]
                    cancelled = [cancel(client, {**example, "steps": 500_000}) for _ in range(10)]
                    run(client, example)
                peaks = {name: peak_bytes(process) for name, process in processes(launcher.pid).items()}
            finally:
                launcher.terminate()
    cut = statistics.quantiles(seconds, n=20, method="inclusive")
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


def run(client: Client, spec: dict[str, object], data: Path | None = None) -> float:
    """Submits, waits for the end. Returns the seconds until the first step was recorded, 0 where nobody looks them up."""
    sent = datetime.now(UTC)
    comparison = client.submit(json.dumps(spec).encode())["id"]
    for _ in client.events(comparison):
        pass
    if data is None:
        return 0.0
    database = open_database(f"sqlite:///{data / 'plumbline.db'}")
    try:
        told = (event for event in events.after(database, comparison, 0) if event.data.get("steps_done"))
        return (next(told).created_at - sent).total_seconds()
    finally:
        database.close()


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
