"""Trial-steps per second: the batched engine against a plain torch loop over the same trials, side by side.

    python -m benchmarks.engine [repetitions]

The baseline is the honest one: two single-threaded processes, each with half of the trials, nn.Sequential and torch.optim,
no statistics. The engine is one process of two threads, as a worker runs it. Only one side runs at a time, they take turns,
and what is printed is the median over the repetitions of the ratio within each.
"""

import multiprocessing as mp
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.workloads import WORKLOADS, Workload, shard

THREADS = 2
SECONDS = 2.0
"""Of one measurement, about."""
MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_ARENA_MAX": "1",
}
"""As the supervisor starts the trainer: freed memory stays mapped."""


def plain(pipe: Connection, workload: Workload, part: int) -> None:
    """Every second trial of the workload, one after another, as one would write it."""
    import torch
    from torch import nn

    from workers.contract.problems import Digits
    from workers.engine.problems import load

    torch.set_num_threads(1)
    data = load(Digits(), torch.float32, torch.device("cpu")).training
    make: dict[str, Any] = {
        "adam": lambda p: torch.optim.Adam(p, lr=1e-3),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
        "rprop": lambda p: torch.optim.Rprop(p, lr=1e-3),
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    }
    members = []
    for trial in shard(workload, 10, [0, 10]).trials[part::2]:
        layers: list[nn.Module] = []
        into = 64
        for _ in range(workload.depth):
            layers += [nn.Linear(into, workload.width), nn.Tanh()]
            into = workload.width
        network = nn.Sequential(*layers, nn.Linear(into, 10))
        members.append((network, make[trial.kind](network.parameters()), torch.randperm(len(data.x))))
    loss_of = nn.CrossEntropyLoss()
    per_epoch = len(data.x) // workload.batch
    pipe.send("ready")
    while steps := pipe.recv():
        started = time.perf_counter()
        for network, optimizer, order in members:
            for step in range(steps):
                place = step % per_epoch * workload.batch
                rows = order[place : place + workload.batch]
                optimizer.zero_grad()
                loss_of(network(data.x[rows]), data.y[rows]).backward()
                optimizer.step()
        pipe.send(len(members) * steps / (time.perf_counter() - started))


def engine(pipe: Connection, workload: Workload, every: int) -> None:
    """The whole workload as a worker would train it, statistics at every `every`-th step (0: at none)."""
    import torch

    from workers.engine.execution import choose
    from workers.engine.shard import Training

    torch.set_num_threads(1)
    most = 100_000
    plan = shard(workload, most, [*range(0, most, every), most] if every else [0, most])
    training = Training(plan, choose(plan, "cpu", THREADS))
    for recording in training.recordings:  # passes over whole splits are not what is compared
        recording.evaluated = frozenset()
    pipe.send("ready")
    while steps := pipe.recv():
        started = time.perf_counter()
        training.advance(training.step + steps)
        pipe.send(workload.trials * steps / (time.perf_counter() - started))
        training.tables()


class Side:
    """Processes that measure the same thing together; the rate is their sum."""

    def __init__(self, target: Any, workload: Workload, arguments: list[int], environment: dict[str, str]) -> None:
        context = mp.get_context("spawn")
        os.environ.update(environment)
        self.pipes = []
        for argument in arguments:
            mine, theirs = context.Pipe()
            context.Process(target=target, args=(theirs, workload, argument), daemon=True).start()
            self.pipes.append(mine)
        for pipe in self.pipes:
            pipe.recv()
        for name in environment:
            del os.environ[name]
        self.steps = 1
        self.rate(1)
        self.steps = max(1, round(SECONDS * self.rate(3) / workload.trials))

    def rate(self, steps: int = 0) -> float:
        for pipe in self.pipes:
            pipe.send(steps or self.steps)
        return sum(float(pipe.recv()) for pipe in self.pipes)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(0)


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    os.environ["OMP_NUM_THREADS"] = "1"
    for name, workload in WORKLOADS.items():
        sides = {
            "plain torch, two processes": Side(plain, workload, [0, 1], {}),
            "engine, no statistics": Side(engine, workload, [0], MALLOC),
            "engine, statistics at recorded steps only (1 in 16)": Side(engine, workload, [16], MALLOC),
            "engine, statistics at every step": Side(engine, workload, [1], MALLOC),
        }
        rates: dict[str, list[float]] = {label: [] for label in sides}
        for _ in range(repetitions):
            for label, side in sides.items():
                rates[label].append(side.rate())
        for side in sides.values():
            side.close()
        print(
            f"\n{name}, batch {workload.batch}, {workload.trials} trials: trial-steps per second, {repetitions} repetitions"
        )
        baseline = rates["plain torch, two processes"]
        for label, measured in rates.items():
            ratio = statistics.median(mine / theirs for mine, theirs in zip(measured, baseline, strict=True))
            print(f"  {label:55s}{statistics.median(measured):10.0f}   {ratio:5.2f} x plain")


if __name__ == "__main__":
    main()
