"""What a step is said to take, beside what it takes: every shard of every example, and the workloads of the engine's benchmark.

    python -m benchmarks.step_estimates [NAME ...]

One thread, set up as in the trainer, and processor time on both sides, the speed of matrix products included, which is measured before
each shard: other processes on the machine change it little. `benchmarks.estimates` holds whole comparisons against the clock. Ratios are
estimated / actual.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.sides import let_go
from benchmarks.workloads import MIX, WORKLOADS, shard
from workers.analysis.protocol import first_round
from workers.contract import cost
from workers.contract.comparison import ComparisonSpec
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import Shard
from workers.engine.execution import choose
from workers.engine.shard import Training
from workers.trainer_process import ENVIRONMENT

EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = 1024
FIRST, SECONDS = 64, 0.8
"""Steps that are not timed, at most; of each shard, about."""


def main() -> None:
    logging.disable()
    torch.set_num_threads(1)
    print(f"{'':40}{'path':10}{'trials':>6}{'ms a step: estimated':>22}{'actual':>10}{'ratio':>7}")
    for name, planned, optimizers in shards():
        if len(sys.argv) > 1 and not name.startswith(tuple(sys.argv[1:])):
            continue
        execution = choose(planned, "cpu", 2).model_copy(update={"threads": 1})
        counts = Counter(trial.optimizer for trial in planned.trials)
        said = cost.step(
            planned.network,
            planned.batch_size,
            [(optimizer, counts[optimizer.label]) for optimizer in optimizers if optimizer.label in counts],
            compiled=execution.path == "native",
            threads=1,
        )
        estimated = said.operations / speed() + said.seconds
        actual = step_seconds(Training(planned, execution))
        print(
            f"{name[:39]:40}{execution.path:10}{len(planned.trials):6}{1e3 * estimated:22.2f}{1e3 * actual:10.2f}{estimated / actual:7.2f}",
            flush=True,
        )


def shards() -> Iterator[tuple[str, Shard, list[OptimizerSpec]]]:
    for path in sorted(EXAMPLES.glob("**/*.json")):
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


def step_seconds(training: Training) -> float:
    """Of steps after the first ones, of which many are recorded and some are slower."""
    let_go(training)
    began = time.process_time()
    for step in range(FIRST):
        training.advance(step + 1)
        if time.process_time() - began > SECONDS:
            break
    first, started, piece = training.step, time.process_time(), max(1, training.step // 2)
    while time.process_time() - started < SECONDS and training.step + piece < training.shard.steps:
        training.advance(training.step + piece)
    let_go(training)
    return (time.process_time() - started) / (training.step - first)


if __name__ == "__main__":
    if not ENVIRONMENT.items() <= os.environ.items():
        os.environ.update(ENVIRONMENT)  # has to be there when the process starts
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.step_estimates", *sys.argv[1:]])  # noqa: S606 - itself
    main()
