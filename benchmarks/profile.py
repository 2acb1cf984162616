"""Where the time of a step goes, in compiled code and in plain torch: why a ratio of the two is what it is.

    python -m benchmarks.profile [W1 W2 W3 W4]

Needs Linux's `perf`. Trials of the workload, as many of each optimizer, train on one thread, statistics at every step, while perf samples
the process for some seconds; so does one plain torch loop. Samples are grouped by the name of the function they fell into. The products
are the same on both sides: where plain torch spends a share s of its time in them, and they take as long in the engine, no engine can be
more than 1/s times as fast.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import sides
from benchmarks.sides import engine, plain
from benchmarks.workloads import WORKLOADS, Workload

SECONDS = 8
PARTS = {
    "products": ("gemm", "mkl_blas", "mkl_trans", "strip<", "tile<", "tile_of"),
    "statistics": ("look_at", "UnitSums", "range_of", "squares<", "squares_of"),
    "updates": ("pass<", "adam", "foreach", "addcmul", "addcdiv", "lerp", "sqrt"),
}
"""Of the names of functions, the first that fits. In compiled code an update and its gradient's statistics are one pass. Whatever else:
non-linearities, loss, batches, and in plain torch Python and dispatch."""
MOST_TRIALS = 40
"""Enough that what Python does for several steps of all of them is little, as it is in a whole shard."""


def main() -> None:
    for name in sys.argv[1:] or ["W1", "W2", "W3", "W4"]:
        workload = WORKLOADS[name]._replace(trials=min(MOST_TRIALS, WORKLOADS[name].trials))
        print(f"{name}: {workload._replace(trials=WORKLOADS[name].trials)}")
        shares = {
            "engine": profiled(on_one_thread, workload, ["default"], "cpu"),
            "plain torch": profiled(plain, workload, 0, "cpu"),
        }
        for side, (rate, own) in shares.items():
            told = ", ".join(f"{part} {100 * share:.0f} %" for part, share in own.items())
            print(f"  {side:12}{rate:8.0f} trial-steps/s: {told}")
        (fast, mine), (slow, theirs) = shares.values()
        print(
            f"  seconds in products per trial-step: {mine['products'] / fast:.2e} and {theirs['products'] / slow:.2e}"
        )
        print(f"  {fast / slow:.2f} times as fast; {fast / slow / mine['products']:.2f} if only products were left")


def on_one_thread(pipe: Connection, workload: Workload, measured: str, device: str) -> None:
    """The engine, as a worker with one core runs it."""
    sides.THREADS = 1
    engine(pipe, workload, measured, device)


def profiled(
    side: Callable[..., None], workload: Workload, argument: list[str] | int, device: str
) -> tuple[float, dict[str, float]]:
    """(trial-steps per second, shares of the time by part)."""
    here, there = Pipe()
    given = (there, workload, *argument, device) if isinstance(argument, list) else (there, workload, argument, device)
    process = Process(target=side, args=given, daemon=True)
    process.start()
    assert here.recv() == "ready"
    steps = calibrated(here, workload.trials)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "perf.data"
        command = ["perf", "record", "--quiet", "--output", str(record), "--pid", str(process.pid), "--", "sleep"]
        sampling = subprocess.Popen([*command, str(SECONDS)])
        here.send(steps)
        rate: float = here.recv()
        sampling.wait()
        report = [
            "perf",
            "report",
            "--input",
            str(record),
            "--stdio",
            "--no-children",
            "--sort",
            "symbol",
            "--percent-limit",
            "0",
        ]
        text = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    here.send(0)
    return rate, grouped(text)


def calibrated(pipe: Connection, trials: int) -> int:
    """Steps that take a little longer than the sampling."""
    rate = 0.0
    for steps in (2, 20):
        pipe.send(steps)
        rate = float(pipe.recv())
    return max(20, int(1.3 * SECONDS * rate / trials))


def grouped(report: str) -> dict[str, float]:
    found = dict.fromkeys([*PARTS, "others"], 0.0)
    for line in report.splitlines():
        share, _, symbol = line.strip().partition("%")
        if not symbol or line.startswith("#"):
            continue
        name = symbol.lower()
        part = next((part for part, words in PARTS.items() if any(word.lower() in name for word in words)), "others")
        found[part] += float(share) / 100
    return found


if __name__ == "__main__":
    main()
