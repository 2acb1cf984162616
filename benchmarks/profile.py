"""Where the time of a step goes, in compiled code and in plain torch: why a ratio of the two is what it is.

    python -m benchmarks.profile [W1 W2 W3 W4]

Needs Linux's `perf`. Trials of the workload, as many of each optimizer, train on one thread, without statistics and with them at every
step, while perf samples the process for some seconds; so does one plain torch loop. Samples are grouped by the name of the function they
fell into. Printed is the time of a trial's step in each group, the median over turns of all sides, and what statistics add to a step. The
products are the same on both sides: where plain torch spends a share s of its time in them, and they take as long in the engine, no engine
can be more than 1/s times as fast.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import sides
from benchmarks.sides import NOTHING, engine, plain
from benchmarks.workloads import WORKLOADS, Workload

SECONDS = 8
TURNS = 3
PARTS = {
    "products": ("gemm", "mkl_blas", "mkl_trans", "strip<", "tile<", "tile_of"),
    "statistics": ("look_at", "UnitSums", "range_of", "squares<", "squares_of"),
    "updates": ("pass<", "adam", "foreach", "addcmul", "addcdiv", "lerp", "sqrt"),
}
"""Of the names of functions, the first that fits. In compiled code an update and its gradient's statistics are one pass. Whatever else:
non-linearities, loss, batches, and in plain torch Python and dispatch."""
BARE, CORE, FULL = "engine, no statistics", "engine, core", "engine, default"
MEASURED = {BARE: NOTHING, CORE: "core", FULL: "default"}
MOST_TRIALS = 40
"""Enough that what Python does for several steps of all of them is little, as it is in a whole shard."""


def main() -> None:
    for name in sys.argv[1:] or ["W1", "W2", "W3", "W4"]:
        workload = WORKLOADS[name]._replace(trials=min(MOST_TRIALS, WORKLOADS[name].trials))
        print(f"{name}: {workload._replace(trials=WORKLOADS[name].trials)}")
        print(f"  {'microseconds per trial-step':28}{'all':>9}{''.join(f'{part:>12}' for part in [*PARTS, 'others'])}")
        turns = [
            {
                "plain torch": profiled(plain, workload, 0, "cpu"),
                **{side: profiled(on_one_thread, workload, [measured], "cpu") for side, measured in MEASURED.items()},
            }
            for _ in range(TURNS)
        ]
        for side in turns[0]:
            told(side, [turn[side] for turn in turns])
            if side in (CORE, FULL):
                told("  more than without, %", [more(turn[side], turn[BARE]) for turn in turns])
        fast, slow = (statistics.median(sum(turn[side].values()) for turn in turns) for side in (FULL, "plain torch"))
        products = statistics.median(turn[FULL]["products"] for turn in turns)
        print(f"  {slow / fast:.2f} times as fast as plain torch; {slow / products:.2f} if only products were left")


def more(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """By part, in percent of the whole of the other; products, which are the same, as what they vary by."""
    return {part: 100 * (one[part] - other[part]) / sum(other.values()) for part in one}


def told(what: str, taken: list[dict[str, float]]) -> None:
    middle = statistics.median(sum(one.values()) for one in taken)
    parts = (statistics.median(one[part] for one in taken) for part in taken[0])
    print(f"  {what:28}{middle:9.1f}{''.join(f'{part:12.1f}' for part in parts)}", flush=True)


def on_one_thread(pipe: Connection, workload: Workload, measured: str, device: str) -> None:
    """The engine, as a worker with one core runs it."""
    sides.THREADS = 1
    engine(pipe, workload, measured, device)


def profiled(side: Callable[..., None], workload: Workload, argument: list[str] | int, device: str) -> dict[str, float]:
    """Microseconds of a trial's step, by part."""
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
    return {part: 1e6 * share / rate for part, share in grouped(text).items()}


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
