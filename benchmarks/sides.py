"""What is compared: each side is one or two processes of its own, told to measure when it is its turn."""

import logging
import multiprocessing as mp
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.workloads import Workload, shard
from workers.trainer_process import ENVIRONMENT

if TYPE_CHECKING:
    import torch
    from torch import nn

    from workers.contract.plan import Trial
    from workers.engine.shard import Training

THREADS = 2
"""Of the engine; of the others, processes."""
SECONDS = 1.5
"""Of one measurement, about."""
ALONE = 20
"""Trials that plain torch trains on a GPU, one after another."""
PIECE = 256
"""Steps after which the engine's records are let go of, as a worker does."""
NOTHING = "nothing"
PORTABLE = {**ENVIRONMENT, "CXX": "none"}
"""As on a machine without a compiler."""


class Measures(Protocol):
    """Anything that can take its turn. Starts when it is made."""

    def ready(self) -> None:
        """Waits until it is, and finds out how many steps to measure."""

    def rate(self) -> float:
        """In a second: trial-steps, or operations."""

    def close(self) -> None: ...


class Side:
    """Processes that measure the same thing together; the rate is their sum."""

    def __init__(
        self,
        target: Any,
        workload: Workload,
        arguments: Sequence[int | str],
        environment: Mapping[str, str] | None = None,
        device: str = "cpu",
    ) -> None:
        context = mp.get_context("spawn")
        self.pipes, self.processes = [], []
        with exported(environment or {}):
            for argument in arguments:
                mine, theirs = context.Pipe()
                process = context.Process(target=target, args=(theirs, workload, argument, device), daemon=True)
                process.start()
                self.pipes.append(mine)
                self.processes.append(process)
        self.trials = workload.trials
        self.steps = 1

    def ready(self) -> None:
        for pipe in self.pipes:
            pipe.recv()
        self.rate()
        self.steps = 3
        self.steps = max(1, round(SECONDS * self.rate() / self.trials))

    def rate(self) -> float:
        for pipe in self.pipes:
            pipe.send(self.steps)
        return sum(float(pipe.recv()) for pipe in self.pipes)

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(0)
        for process in self.processes:
            process.join()


@contextmanager
def exported(environment: Mapping[str, str]) -> Iterator[None]:
    """For what is started meanwhile."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def in_turns(sides: Mapping[str, Measures], repetitions: int) -> dict[str, list[float]]:
    """Rates by side. Only one runs at a time, so that a busy machine is busy for all of them. Closes them."""
    for side in sides.values():
        side.ready()
    rates: dict[str, list[float]] = {label: [] for label in sides}
    for _ in range(repetitions):
        for label, side in sides.items():
            rates[label].append(side.rate())
    for side in sides.values():
        side.close()
    return rates


def ratio(mine: list[float], theirs: list[float]) -> float:
    """Median over the repetitions of the ratio within each."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def plain(pipe: Connection, workload: Workload, part: int, device: str) -> None:
    """Every second trial of the workload, one after another, as one would write it: torch.nn, torch.optim, no statistics.

    On a GPU some of the trials, which tell as much.
    """
    import torch
    from torch import nn

    from workers.engine.problems import load

    torch.set_num_threads(1)
    planned = shard(workload, 10, [0, 10])
    data = load(planned.problem, torch.float32, torch.device(device)).training
    members = []
    for trial in planned.trials[part::2] if device == "cpu" else planned.trials[:: workload.trials // ALONE]:
        network = written(workload, data.x.shape[1:], planned.problem.outputs).to(device)
        members.append((network, its_optimizer(trial, network), torch.randperm(len(data.x), device=device)))
    loss_of = nn.MSELoss() if planned.problem.loss == "mean_squared_error" else nn.CrossEntropyLoss()
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
        finish(device)
        pipe.send(len(members) * steps / (time.perf_counter() - started))


def written(workload: Workload, shape: Sequence[int], outputs: int) -> "nn.Module":
    """The network as one writes it in torch."""
    import torch
    from torch import nn

    class Gaussian(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.exp(-z.square())

    class Last(nn.Module):
        """What a recurrent layer gives at its last step."""

        def __init__(self, recurrent: nn.RNNBase) -> None:
            super().__init__()
            self.recurrent = recurrent

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.recurrent(x)[0][:, -1]
            return found

    width, depth = workload.width, workload.depth
    if workload.kind in ("rnn", "lstm"):
        recurrent = {"rnn": nn.RNN, "lstm": nn.LSTM}[workload.kind]
        return nn.Sequential(
            Last(recurrent(shape[-1], width, num_layers=depth, batch_first=True)), nn.Linear(width, outputs)
        )
    activation: Any = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gaussian": Gaussian}[workload.activation]
    layers: list[nn.Module] = []
    into, side = shape[0], shape[-1]
    for place in range(depth):
        if workload.kind == "conv":
            out, side = width << place, side // 2
            layers += [nn.Conv2d(into, out, 3, padding=1), activation(), nn.MaxPool2d(2)]
        else:
            out = width
            layers += [nn.Linear(into, out), activation()]
        into = out
    features = into * side**2 if workload.kind == "conv" else into
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, outputs))


def its_optimizer(trial: "Trial", network: "nn.Module") -> "torch.optim.Optimizer":
    import torch

    lr = float(str(trial.hyperparameters["lr"]))
    if trial.kind == "sgd":
        return torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    makes: dict[str, Any] = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop, "rprop": torch.optim.Rprop}
    made: torch.optim.Optimizer = makes[trial.kind](network.parameters(), lr=lr)
    return made


def finish(device: str) -> None:
    """Waits until it has done what it was told."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def engine(pipe: Connection, workload: Workload, measured: str, device: str) -> None:
    """The whole workload as a worker would train it; that set of statistics at every step, or `NOTHING`."""
    import torch

    from workers.contract.statistics import recorded
    from workers.engine.execution import choose
    from workers.engine.shard import Training

    logging.disable()  # the portable path says that it is
    torch.set_num_threads(1)
    most = 100_000
    plan = shard(workload, most, [0, most])
    if measured != NOTHING:
        plan = plan.model_copy(update={"recorded": [*range(most + 1)], "statistics": recorded(measured)})
    training = Training(plan, choose(plan, device, THREADS))
    let_go(training)
    pipe.send("ready")
    while steps := pipe.recv():
        started = time.perf_counter()
        end = training.step + steps
        while training.step < end:
            training.advance(min(end, training.step + PIECE))
            let_go(training)
        pipe.send(workload.trials * steps / (time.perf_counter() - started))


def let_go(training: "Training") -> None:
    """Of what is recorded. From here on no pass over whole splits: they are not what is compared."""
    from workers.engine.recording import Recording

    training.recordings = [Recording(program) for program in training.programs]
    for recording in training.recordings:
        recording.evaluated = frozenset()


def product(pipe: Connection, workload: Workload, _: int, device: str) -> None:
    """Large float32 products on one thread, or the GPU, as many as give one measurement: the most that the machine multiplies."""
    import torch

    torch.set_num_threads(1)
    size = 1024 if device == "cpu" else 8192
    a, b, c = (torch.rand(size, size, device=device) for _ in range(3))
    pipe.send("ready")
    while pipe.recv():
        count, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < SECONDS / 3:
            torch.mm(a, b, out=c)
            finish(device)
            count += 1
        pipe.send(2 * size**3 * count / spent)
