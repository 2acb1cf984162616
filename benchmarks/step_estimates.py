"""What a shard is said to take, beside what it takes: of every example, and the workloads of the engine's benchmark.

    python -m benchmarks.step_estimates [NAME ...]
    python -m benchmarks.step_estimates SPEC.json ...

One thread, set up as in the trainer, and processor time on both sides, the speed of matrix products included, which is measured before
each shard: other processes on the machine change it little. `benchmarks.estimates` holds whole comparisons against the clock. A step is one
at which nothing is recorded; a recorded one is measured apart, curves included, as a mean over its intervals; the whole shard is so many of
each. Memory is what torch's tensors take at most while a shard is built and takes as many steps as it records, each of them recorded.
Ratios are estimated / actual.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.tensors import peak_bytes
from benchmarks.workloads import MIX, WORKLOADS, shard
from workers.analysis.protocol import first_round
from workers.contract import cost
from workers.contract.comparison import ComparisonSpec
from workers.contract.memory import remembered_by, shard_memory
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import CURVE_POINTS, Execution, Shard
from workers.contract.problems import split_sizes
from workers.contract.recording_cost import recording
from workers.contract.statistics import DEFAULT_INTERVALS
from workers.engine.execution import choose
from workers.engine.shard import Training
from workers.trainer_process import ENVIRONMENT

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = 1024
FIRST, SECONDS = 64, 0.5
"""Steps that are not timed, at most; of each measurement, about."""
MOST = CURVE_POINTS - 8
"""Recorded steps, all of which the curves have."""


def main() -> None:
    logging.disable()
    torch.set_num_threads(1)
    print(f"{'':38}{'path':10}{'trials':>6}{'ms a step: said':>17}{'took':>9}{'ratio':>6}", end="")
    print(f"{'recorded: said':>16}{'took':>9}{'shard, ratio':>14}{'MiB: said':>11}{'took':>7}{'ratio':>7}")
    for name, planned, optimizers in shards():
        if len(sys.argv) > 1 and not name.startswith(tuple(Path(given).stem for given in sys.argv[1:])):
            continue
        execution = choose(planned, "cpu", 1)
        pace = speed()
        said = Said.of(planned, optimizers, pace, compiled=execution.path == "native")
        step, recorded = step_seconds(planned, execution), recorded_seconds(planned, execution)
        others, count = planned.steps - len(planned.recorded), len(planned.recorded)
        ratio = (others * said.step + count * said.recorded) / (others * step + count * recorded)
        taken = peak_bytes(planned, execution)
        print(
            f"{name[:37]:38}{execution.path:10}{len(planned.trials):6}{1e3 * said.step:17.2f}{1e3 * step:9.2f}{said.step / step:6.2f}"
            f"{1e3 * said.recorded:16.2f}{1e3 * recorded:9.2f}{ratio:14.2f}"
            f"{said.bytes / 2**20:11.1f}{taken / 2**20:7.1f}{said.bytes / taken:7.2f}",
            flush=True,
        )


class Said(NamedTuple):
    step: float
    """Seconds of a step at which nothing is recorded …"""
    recorded: float
    """… and of one that is, on average."""
    bytes: float

    @classmethod
    def of(cls, planned: Shard, optimizers: list[OptimizerSpec], pace: float, *, compiled: bool) -> "Said":
        """On one thread, of so many operations a second."""
        counts = Counter(trial.optimizer for trial in planned.trials)
        trials = [(optimizer, counts[optimizer.label]) for optimizer in optimizers if optimizer.label in counts]
        step = cost.step(planned.network, planned.batch_size, trials, compiled=compiled, threads=1)
        recorded = len(planned.recorded)
        beside = recording(
            planned.network,
            planned.batch_size,
            len(planned.trials),
            recorded=recorded,
            evaluated=sum(split_sizes(planned.problem.samples)[:2]),
            statistics=planned.statistics,
            intervals=planned.intervals,
            compiled=compiled,
            threads=1,
        )
        count = len(planned.trials)
        taken = shard_memory(
            planned.problem,
            planned.network,
            count,
            seeds=len({trial.seed for trial in planned.trials}),
            batch_size=planned.batch_size,
            pattern=planned.pattern,
            precision=planned.precision,
            recorded=recorded,
            remembered=remembered_by(trials),
            statistics=planned.statistics,
            at_once=cost.in_torch(count, planned.network, planned.batch_size, 1).at_once,
            compiled=compiled,
        )
        plain = step.operations / pace + step.seconds
        return cls(plain, plain + (beside.operations / pace + beside.seconds) / recorded, taken.training)


def shards() -> Iterator[tuple[str, Shard, list[OptimizerSpec]]]:
    given = [Path(name) for name in sys.argv[1:] if name.endswith(".json")]
    for path in given or sorted(EXAMPLES.glob("**/*.json")):
        spec = ComparisonSpec.model_validate(json.loads(path.read_text()))
        for planned in first_round(spec).shards:
            yield f"{path.stem}, {planned.variant}", planned, list(spec.optimizers)
    mix = ComparisonSpec.model_validate(
        {"problem": "digits", "network": {"kind": "mlp", "depth": 1, "width": 1}, "optimizers": MIX}
    )
    for name, workload in WORKLOADS.items():
        yield name, shard(workload, 1000, [0, 1000]), list(mix.optimizers)


def speed() -> float:
    """Operations in a second of processor time, the best of some."""
    a, b, c = (torch.rand(SIZE, SIZE) for _ in range(3))
    taken = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(4):
            torch.mm(a, b, out=c)
        taken.append(time.process_time() - started)
    return 4 * 2 * SIZE**3 / min(taken)


def step_seconds(planned: Shard, execution: Execution) -> float:
    """Of steps at which nothing is recorded, after the first ones, some of which are slower."""
    steps = max(planned.steps, 2)
    unseen = planned.model_copy(update={"recorded": [steps, steps + 1]})  # steps that are not reached here
    training = Training(unseen, execution)
    began = time.process_time()
    while training.step < min(FIRST, steps // 2) and time.process_time() - began < SECONDS:
        training.advance(training.step + 1)
    first, started, piece = training.step, time.process_time(), max(1, training.step // 2)
    while time.process_time() - started < SECONDS and training.step + 1 < steps:
        training.advance(min(steps - 1, training.step + piece))
    return (time.process_time() - started) / (training.step - first)


def recorded_seconds(planned: Shard, execution: Execution) -> float:
    """Of recorded steps, all groups of statistics at their intervals, the first ones apart."""
    every = max([1, *((DEFAULT_INTERVALS | planned.intervals)[group] for group in planned.occasional)])
    at = [*range(min(CURVE_POINTS - 1, planned.steps)), planned.steps]
    training = Training(planned.model_copy(update={"recorded": at}), execution)
    training.advance(min(every, planned.steps - 1))
    training.tables()
    first, started = training.step, time.process_time()
    while training.step == first or (time.process_time() - started < SECONDS and training.step < MOST):
        training.advance(training.step + every)
        training.tables()
    return (time.process_time() - started) / (training.step - first)


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():
        os.environ.update(ENVIRONMENT)  # has to be there when the process starts
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.step_estimates", *sys.argv[1:]])  # noqa: S606 - itself
    main()
