"""Trial-steps per second: the engine against a plain torch loop over the same trials, side by side; and how time grows.

    python -m benchmarks.engine [repetitions]

The baseline is the honest one: two single-threaded processes, each with half of the trials, torch.nn and torch.optim, no
statistics. The engine is one process of two threads, as a worker runs it: compiled code. RNNs and LSTMs learn the adding problem
over 100 steps. Only one side runs at a time, they take turns, and what is printed is the median over the repetitions of the
ratio within each; of rates, the median. The share of the peak is that of the operations in the step's matrix products,
against large products on both cores in the same turn.
"""

import multiprocessing as mp
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from typing import Any

from benchmarks.growth import (
    DEPTHS,
    FIRST_STEPS,
    TRIALS,
    compile_seconds,
    exponent,
    first_steps,
    fresh_seconds,
    slopes,
    step_times,
)
from benchmarks.sides import NOTHING, PORTABLE, Side, engine, exported, in_turns, plain, product, ratio
from benchmarks.workloads import WORKLOADS, Workload
from workers.trainer_process import ENVIRONMENT

PLAIN = "plain torch, two processes, no statistics"
IN_TORCH = "engine in torch, statistics at every step"
BARE = "engine, no statistics"
CORE = "engine, core statistics at every step"
FULL = "engine, statistics at every step"


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.environ["OMP_NUM_THREADS"] = "1"
    heading()
    for name, workload in WORKLOADS.items():
        compare(name, workload, repetitions)
    print("\nother non-linearities: statistics at every step against plain torch with the same")
    for name, activation in [(name, activation) for name in ("W1", "W4") for activation in ("sigmoid", "gaussian")]:
        workload = WORKLOADS[name]._replace(activation=activation)
        rates = in_turns(
            {PLAIN: Side(plain, workload, [0, 1]), FULL: Side(engine, workload, ["default"], ENVIRONMENT)}, repetitions
        )
        print(
            f"  {name} {activation:10s}{statistics.median(rates[FULL]):10.0f}   {ratio(rates[FULL], rates[PLAIN]):5.2f} x plain"
        )
    print("\nan expression of a user's own: statistics at every step against tanh by name with the same")
    for name, formula in [(name, formula) for name in ("W1", "W4") for formula in ("tanh(z)", "sigmoid(z)**2")]:
        sides = {
            label: Side(engine, WORKLOADS[name]._replace(activation=own), ["default"], ENVIRONMENT)
            for label, own in (("named", "tanh"), ("written", formula))
        }
        rates = in_turns(sides, repetitions)
        print(f"  {name} {formula:14s}{ratio(rates['named'], rates['written']):5.2f} times the time")
    growth(repetitions)


def heading() -> None:
    from workers.engine.machine import cores, device_name

    compiler = shutil.which(os.environ.get("CXX", "g++"))
    called = [compiler, "--version"] if compiler else ["echo", "no compiler: what is called compiled below is portable"]
    said = subprocess.run(called, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    peaks = [peak([0]), peak([0, 1])]
    print(f"{device_name('cpu')}, {cores()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, torch {version('torch')}, numpy {version('numpy')}, {said}")
    print(f"float32 product: one core {peaks[0]:.0f} GF/s (times two {2 * peaks[0]:.0f}), both at once {peaks[1]:.0f}")


def peak(processes: list[int]) -> float:
    """GF/s, the best of some."""
    rates = in_turns({"product": Side(product, WORKLOADS["W1"], processes)}, 5)
    return max(rates["product"]) / 1e9


def compare(name: str, workload: Workload, repetitions: int) -> None:
    sides = {
        PLAIN: Side(plain, workload, [0, 1]),
        IN_TORCH: Side(engine, workload, ["default"], PORTABLE),
        BARE: Side(engine, workload, [NOTHING], ENVIRONMENT),
        CORE: Side(engine, workload, ["core"], ENVIRONMENT),
        FULL: Side(engine, workload, ["default"], ENVIRONMENT),
    }
    rates = in_turns({**sides, "product": Side(product, workload, [0, 1])}, repetitions)
    print(f"\n{name}, {workload}: trial-steps per second, {repetitions} repetitions")
    for label in sides:
        share = workload.flops * ratio(rates[label], rates["product"])
        print(
            f"  {label:44s}{statistics.median(rates[label]):10.0f}   {ratio(rates[label], rates[PLAIN]):5.2f} x plain"
            f"   {100 * share:3.0f} % of the peak"
        )
    for what, one, other in (
        ("core / without", CORE, BARE),
        ("with statistics / without", FULL, BARE),
        ("with statistics / core", FULL, CORE),
    ):
        print(f"  {what:44s}{ratio(rates[one], rates[other]):10.2f}")
    sys.stdout.flush()


def growth(repetitions: int) -> None:
    print("\ngrowth of a step's time, compiled path with statistics at every step")
    for what, workloads in (("trials", TRIALS), ("depth", DEPTHS)):
        seconds = asked(step_times, workloads, repetitions)
        sizes = [getattr(workload, what) for workload in workloads]
        print(
            f"  {what:7s}{', '.join(map(str, sizes))}: {', '.join(f'{1e3 * own:.2f}' for own in seconds)} ms; exponent"
            f" {exponent(sizes, seconds):.2f} (between neighbours {', '.join(f'{own:.2f}' for own in slopes(sizes, seconds))})"
        )
    print("\nuntil the first step; a worker takes no shard before its trainer is loaded")
    print(f"  compiling, on a machine that has compiled nothing yet: {compile_seconds():.1f} s, once")
    for workload, (built, stepped, again) in zip(
        FIRST_STEPS, asked(first_steps, FIRST_STEPS, repetitions), strict=True
    ):
        print(f"  warm trainer, {workload}: built, its arithmetic starts, after {built:.3f} s;")
        print(
            f"    passes over the data and the first step of all trials done after {stepped:.3f} s, {again:.3f} s of it arithmetic"
        )
        print(f"    from starting an interpreter, loading torch and all of ours: {fresh_seconds(workload):.2f} s")


def asked(target: Any, workloads: list[Workload], repetitions: int) -> Any:
    """What a process of its own answers."""
    context = mp.get_context("spawn")
    mine, theirs = context.Pipe()
    with exported(ENVIRONMENT):
        process = context.Process(target=target, args=(theirs, workloads, repetitions))
        process.start()
    theirs.close()
    answer = mine.recv()
    process.join()
    return answer


if __name__ == "__main__":
    main()
