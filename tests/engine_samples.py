"""Small shards for tests of the engine, planned without the service and trained without a trainer."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from pydantic import TypeAdapter
from torch import Tensor

from workers.contract.network import Layers, Mlp, NetworkSpec
from workers.contract.optimizers import OptimizerSpec
from workers.contract.plan import Execution, Shard, Trial
from workers.contract.problems import ProblemSpec
from workers.contract.shapes import expand
from workers.engine.problems import load
from workers.engine.program import DTYPES, Program, build
from workers.engine.recording import Recording
from workers.engine.shard import Ending, Training
from workers.engine.train import advance

Row = dict[str, Any]
Optimizer = str | dict[str, Any]

TEACHER = {"kind": "teacher", "inputs": 5, "targets": 3, "count": 100, "width": 8}
"""A regression with several targets."""
DROPPING: list[Any] = [
    {"kind": "linear", "out_features": 7},
    {"kind": "activation", "activation": "tanh"},
    {"kind": "dropout", "p": 0.3},
    {"kind": "linear", "out_features": 6, "bias": False},
    {"kind": "activation", "activation": "gaussian"},
]
"""Layers of every kind."""

_problem: TypeAdapter[ProblemSpec] = TypeAdapter(ProblemSpec)
_network: TypeAdapter[Mlp | Layers] = TypeAdapter(NetworkSpec)
_optimizer: TypeAdapter[OptimizerSpec] = TypeAdapter(OptimizerSpec)


class Run(NamedTuple):
    statistics: pa.Table
    curves: pa.Table
    endings: list[Ending]


def mlp(activation: str = "tanh", depth: int = 2, width: int = 6, **more: Any) -> dict[str, Any]:
    return {"kind": "mlp", "depth": depth, "width": width, "activation": activation, **more}


def layers(*inner: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "layers", "layers": list(inner), **more}


def shard(
    network: dict[str, Any],
    *optimizers: Optimizer,
    problem: str | dict[str, Any] = "wine",
    seeds: tuple[int, ...] = (0,),
    batch_size: int = 16,
    precision: str = "float64",
    steps: int = 10,
    recorded: list[int] | None = None,
) -> Shard:
    """Every optimizer on every seed; all steps recorded unless said. Optimizers are named by their place, so that one can stand twice."""
    data = _problem.validate_python(problem)
    trials: list[Trial] = []
    specs = [_optimizer.validate_python(optimizer) for optimizer in optimizers or ("sgd",)]
    for place, spec in enumerate(specs):
        for seed in seeds:
            trials.append(
                Trial(
                    trial=len(trials),
                    variant="base",
                    optimizer=f"{place} {spec.kind}",
                    kind=spec.kind,
                    hyperparameters=spec.hyperparameters(),
                    seed=seed,
                    role="final",
                )
            )
    return Shard(
        problem=data,
        variant="base",
        network=expand(_network.validate_python(network), data.features, data.outputs),
        trials=trials,
        batch_size=batch_size,
        pattern=specs[0].pattern,
        precision=precision,
        steps=steps,
        recorded=list(range(steps + 1)) if recorded is None else recorded,
    )


def program(planned: Shard) -> Program:
    return build(planned, planned.trials, load(planned.problem, DTYPES[planned.precision], torch.device("cpu")))


def training(planned: Shard, chunks: list[int] | None = None, threads: int = 1) -> Training:
    return Training(planned, Execution(device="cpu", threads=threads, chunks=chunks or [len(planned.trials)]))


def train(planned: Shard, chunks: list[int] | None = None, threads: int = 1) -> Run:
    """From the first step to the last, undisturbed."""
    running = training(planned, chunks, threads)
    running.advance(planned.steps)
    return Run(*running.tables(), running.endings())


def train_interrupted(planned: Shard, stops: list[int], folder: Path, chunks: list[int] | None = None) -> Run:
    """Saved, forgotten and resumed at every stop."""
    running, tables = training(planned, chunks), []
    for stop in stops:
        running.advance(stop)
        tables.append(running.tables())
        running.save(folder / "checkpoint.pt")
        running = training(planned, chunks)
        running.resume(folder / "checkpoint.pt")
    running.advance(planned.steps)
    tables.append(running.tables())
    statistics, curves = (
        pa.concat_tables([table for table in kind if table is not None]).unify_dictionaries()
        for kind in zip(*tables, strict=True)
    )
    return Run(statistics, curves, running.endings())


def rows(table: pa.Table) -> dict[tuple[Any, ...], Row]:
    """By (trial, step, layer), or (trial, step) where there are no layers."""
    return {tuple(row[key] for key in ("trial", "step", "layer") if key in row): row for row in table.to_pylist()}


def statistics(running: Program) -> pa.Table:
    """Of a program trained from its first step to its last."""
    recording = Recording(running)
    advance(running, recording, 0, running.shard.steps)
    return recording.statistics_table()


def parameters(running: Training) -> Tensor:
    """[T, P] of all chunks."""
    return torch.cat([each.theta for each in running.programs])
