"""Small shards for tests of the engine, planned without the service and trained without a trainer."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from workers.contract.network import Layers, Mlp, NetworkSpec
from workers.contract.optimizers import OptimizerSpec, Sgd
from workers.contract.plan import Execution, Shard, Trial
from workers.contract.problems import ProblemSpec
from workers.contract.shapes import expand
from workers.engine.network import Linear
from workers.engine.problems import load
from workers.engine.program import DTYPES, Program, build
from workers.engine.recording import Recording
from workers.engine.shard import Ending, Training
from workers.engine.train import advance
from workers.theory.resolution import resolved


def linears(program: Program) -> list[Linear]:
    """The layers of weights of a dense network, from the input upwards."""
    return [place.layer for place in program.measured if isinstance(place.layer, Linear)]


torch.set_num_threads(1)  # as in the trainer: threads are for chunks

Row = dict[str, Any]
Optimizer = str | dict[str, Any]
EnginePath = Literal["portable", "native"]

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


def mlp(activation: str | dict[str, Any] = "tanh", depth: int = 2, width: int = 6, **more: Any) -> dict[str, Any]:
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
    gradient_range: Literal["standard", "extended"] = "standard",
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
        network=resolved(expand(_network.validate_python(network), data.shape, data.output_shape)),
        trials=trials,
        batch_size=batch_size,
        pattern=specs[0].evaluation,
        precision=precision,
        steps=steps,
        recorded=list(range(steps + 1)) if recorded is None else recorded,
        gradient_range=gradient_range,
        wrappers={f"{place} {spec.kind}": kinds for place, spec in enumerate(specs) if (kinds := spec.wrapper_kinds())},
    )


def program(planned: Shard) -> Program:
    return build(planned, planned.trials, load(planned.problem, DTYPES[planned.precision], torch.device("cpu")))


def training(
    planned: Shard, chunks: list[int] | None = None, threads: int = 1, path: EnginePath = "portable"
) -> Training:
    return Training(
        planned, Execution(device="cpu", threads=threads, chunks=chunks or [len(planned.trials)], path=path)
    )


def train(planned: Shard, chunks: list[int] | None = None, threads: int = 1, path: EnginePath = "portable") -> Run:
    """From the first step to the last, undisturbed."""
    running = training(planned, chunks, threads, path)
    running.advance(planned.steps)
    return Run(*running.tables(), running.endings())


def train_interrupted(
    planned: Shard, stops: list[int], folder: Path, chunks: list[int] | None = None, path: EnginePath = "portable"
) -> Run:
    """Saved, forgotten and resumed at every stop."""
    running, tables = training(planned, chunks, path=path), []
    for stop in stops:
        running.advance(stop)
        tables.append(running.tables())
        running.save(folder / "checkpoint.pt")
        running = training(planned, chunks, path=path)
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


def only(given: Shard, *places: int) -> Shard:
    return given.model_copy(update={"trials": [given.trials[place] for place in places]})


def assert_close(found: Run, expected: Run, rel: float = 1e-8) -> None:
    """What was found of some trials is, up to rounding, what was expected of them."""
    for mine, others in (
        (rows(found.statistics), rows(expected.statistics)),
        (rows(found.curves), rows(expected.curves)),
    ):
        trials = {key[0] for key in mine}
        assert set(mine) == {key for key in others if key[0] in trials}
        for key, row in mine.items():
            for name, value in row.items():
                told = others[key][name]
                assert value == told or value == pytest.approx(told, rel=rel, abs=rel * 1e-2, nan_ok=True), (key, name)
    endings = {ending.trial: ending for ending in expected.endings}
    for ending in found.endings:
        assert ending.divergence == endings[ending.trial].divergence
        assert ending.test_loss == pytest.approx(endings[ending.trial].test_loss, rel=rel)
        assert ending.test_accuracy == pytest.approx(endings[ending.trial].test_accuracy, nan_ok=True)


def sorted_(table: pa.Table) -> pa.Table:
    return table.sort_by([(key, "ascending") for key in ("trial", "step", "depth") if key in table.column_names])


def assert_same(found: Run, expected: Run) -> None:
    """Bit for bit; NaN is NaN."""
    assert repr(found.endings) == repr(expected.endings)
    for mine, others in ((found.statistics, expected.statistics), (found.curves, expected.curves)):
        mine, others = sorted_(mine), sorted_(others)
        assert mine.column_names == others.column_names
        for name in mine.column_names:
            one, other = mine.column(name).to_pylist(), others.column(name).to_pylist()
            assert list(map(repr, one)) == list(map(repr, other)), name


def with_a_diverging(given: Shard) -> Shard:
    """One more trial, the first, under a learning rate that no network survives."""
    wild = given.trials[0].model_copy(
        update={
            "trial": 1000, "optimizer": "wild", "kind": "sgd",
            "hyperparameters": {**Sgd().hyperparameters(), "lr": 1e30},
        }
    )  # fmt: skip
    return given.model_copy(update={"trials": [wild, *given.trials]})
