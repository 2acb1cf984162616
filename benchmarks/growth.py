"""How the time of a step grows, and how long it is until the first one."""

import gc
import itertools
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.sides import THREADS, let_go
from benchmarks.workloads import Workload, shard

TRIALS = [Workload(6, 32, 64, trials) for trials in (4, 12, 40, 120, 400)]
DEPTHS = [Workload(depth, 64, 128, 8) for depth in (5, 10, 20, 50, 100)]
FIRST_STEPS = [Workload(depth, 64, 128, 40) for depth in (5, 100)]
SECONDS = 0.4
"""Of one measurement, about."""


def step_times(pipe: Connection, workloads: list[Workload], repetitions: int) -> None:
    """Seconds of a step with the default statistics, the best of the repetitions: what others take of the machine is no growth."""
    import torch

    from workers.engine.execution import choose
    from workers.engine.shard import Training

    logging.disable()
    torch.set_num_threads(1)
    most = 100_000
    members = []
    for workload in workloads:
        plan = shard(workload, most, [*range(most + 1)])
        members.append(Training(plan, choose(plan, "cpu", THREADS)))

    def seconds(training: Training, steps: int) -> float:
        let_go(training)
        started = time.perf_counter()
        training.advance(training.step + steps)
        return (time.perf_counter() - started) / steps

    for training in members:
        seconds(training, 1)
    counts = [max(1, min(256, round(SECONDS / seconds(training, 16)))) for training in members]
    rounds = [
        [seconds(training, steps) for training, steps in zip(members, counts, strict=True)] for _ in range(repetitions)
    ]
    pipe.send([min(own) for own in zip(*rounds, strict=True)])


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log(seconds) over log(size), least squares."""
    fit = statistics.linear_regression([math.log(size) for size in sizes], [math.log(own) for own in seconds])
    return fit.slope


def slopes(sizes: list[int], seconds: list[float]) -> list[float]:
    """Between neighbours."""
    points = [(math.log(size), math.log(own)) for size, own in zip(sizes, seconds, strict=True)]
    return [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in itertools.pairwise(points)]


class Beginning(NamedTuple):
    """Of a shard, in seconds from having it. Its first step starts once its programs are built: what is left then is arithmetic."""

    built: float
    """Read, planned, built: weights drawn, data on the device."""
    stepped: float
    """The first step done, of all trials, and before it the curves' passes over whole splits."""
    again: float
    """These passes and that step, once more with everything in its place: their arithmetic."""


def first_steps(pipe: Connection, workloads: list[Workload], repetitions: int) -> None:
    """Of a trainer that has trained before: medians of what `begin` says."""
    begin(Workload(2, 16, 32, 4))
    gc.freeze()  # as the trainer does
    rounds = [[begin(workload) for workload in workloads] for _ in range(repetitions)]
    pipe.send([Beginning(*map(statistics.median, zip(*own, strict=True))) for own in zip(*rounds, strict=True)])


def begin(workload: Workload) -> Beginning:
    """From the JSON that a trainer is given."""
    import torch

    from workers.contract.plan import Shard
    from workers.engine.execution import choose
    from workers.engine.recording import Recording
    from workers.engine.shard import Training

    logging.disable()
    torch.set_num_threads(1)
    given = shard(workload, 1000, [*range(1001)]).model_dump_json()
    started = time.perf_counter()
    plan = Shard.model_validate_json(given)
    training = Training(plan, choose(plan, "cpu", THREADS))
    built = time.perf_counter()
    training.advance(1)
    stepped = time.perf_counter()
    training.recordings = [Recording(program) for program in training.programs]
    training.programs[0].shared.scores.clear()
    training.step = 0
    training.advance(1)
    return Beginning(built - started, stepped - started, time.perf_counter() - stepped)


def fresh_seconds(workload: Workload) -> float:
    """From starting an interpreter, torch not yet loaded, until the first step is done; with what is compiled in its cache."""
    program = (
        "from benchmarks.growth import begin; from benchmarks.workloads import Workload;"
        f"begin(Workload(*{tuple(workload)!r}))"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], check=True)
    return time.perf_counter() - started


def compile_seconds() -> float:
    """From an empty cache until the step and the usual non-linearities are compiled and loaded; NaN without a compiler."""
    program = (
        "import logging, time, torch; from workers.engine.native.build import prepare; logging.disable();"
        "started = time.perf_counter(); found = prepare(); print(time.perf_counter() - started if found else float('nan'))"
    )
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "XDG_CACHE_HOME": empty, "TMPDIR": empty}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout)
