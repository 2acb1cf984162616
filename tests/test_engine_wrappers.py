"""Shards whose optimizers have something round their rules: the same on both paths, in any company, and after an interruption."""

from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import EnginePath, assert_close, assert_same, mlp, only, shard, train, train_interrupted

from workers.engine.execution import choose
from workers.engine.native import build

SGD, ADAM, RMSPROP = {"kind": "sgd", "momentum": 0.9, "lr": 0.05}, {"kind": "adam", "lr": 0.05}, {"kind": "rmsprop"}
SCHEDULED: list[Any] = [
    body | {"schedule": schedule}
    for body, schedule in (
        (SGD, {"kind": "cosine", "warmup_steps": 10}),
        (ADAM, {"kind": "linear_warmup", "warmup_steps": 70}),
        (RMSPROP, {"kind": "step", "step_size": 9, "gamma": 0.5}),
        ({"kind": "smorms3"}, {"kind": "linear", "final_factor": 0.1}),
        ({"kind": "signum"}, "cosine"),
    )
]
AROUND: list[Any] = [
    SGD | {"clip": {"kind": "adaptive"}},
    ADAM | {"lookahead": {"k": 7}, "added_decay": "decoupled"},
    SGD | {"depth_lr": "auto", "schedule": "cosine"},
    RMSPROP | {"depth_lr": "exponential", "clip": "value"},
    "signsgd",
]
SHARPNESS: list[Any] = [SGD | {"sam": "sam", "clip": {"kind": "norm", "max_norm": 0.1}}, ADAM | {"sam": "asam"}]


@pytest.mark.parametrize("optimizers", [SCHEDULED, [*SCHEDULED, *AROUND]], ids=["schedules", "all"])
def test_the_compiled_path_agrees(optimizers: list[Any]) -> None:
    """Schedules, which it knows, and everything else, which torch does between its steps, give what the definition gives."""
    if build.library(torch.float32) is None:
        pytest.skip("no C++ compiler on this machine")
    planned = shard(mlp("tanh"), *optimizers, steps=90, recorded=[0, 1, 2, 30, 71, 90])
    assert_close(train(planned, path="native"), train(planned), rel=1e-7)


def test_chunks_end_where_torch_takes_over() -> None:
    """Trials that the compiled code updates by itself never wait for torch: a schedule is among them, clipping is not."""
    if build.library(torch.float32) is None:
        pytest.skip("no C++ compiler on this machine")
    planned = shard(mlp("tanh"), SCHEDULED[0], "sgd", AROUND[0], "lion", "adam", seeds=tuple(range(10)))
    assert choose(planned, "cpu", 1).chunks == [5, 5, 5, 5, 20, 3, 3, 2, 2]


@pytest.mark.parametrize(
    ("optimizers", "path"),
    [([*SCHEDULED, *AROUND], "portable"), ([*SCHEDULED, *AROUND], "native"), (SHARPNESS, "portable")],
)
def test_wrapped_trials_in_a_shard(optimizers: list[Any], path: EnginePath, tmp_path: Path) -> None:
    """Interrupted, the same bit for bit; alone, or in other chunks, the same up to rounding."""
    planned = shard(mlp("tanh"), *optimizers, steps=24, recorded=[0, 5, 24])
    if path == "native" and build.library(torch.float32) is None:
        pytest.skip("no C++ compiler on this machine")
    undisturbed = train(planned, path=path)
    assert_same(train_interrupted(planned, [7, 16], tmp_path, path=path), undisturbed)
    for place in range(len(optimizers)):
        assert_close(train(only(planned, place), path=path), undisturbed, rel=1e-7)
