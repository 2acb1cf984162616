"""The extended range: true gradients where float32 has none, and the same numbers bit for bit where it has them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import (
    DROPPING,
    EnginePath,
    Optimizer,
    assert_same,
    layers,
    mlp,
    program,
    shard,
    train,
    train_interrupted,
)
from test_engine_native import TOLERANCE, comparable, one_step

from workers.contract.network import HIDDEN_NORMALIZATIONS
from workers.contract.optimizers import OPTIMIZERS
from workers.contract.plan import Shard
from workers.engine.native import build
from workers.engine.optimizers import RULES
from workers.engine.recording import Recording
from workers.engine.scaling import scale
from workers.engine.train import advance, differentiate, give, measure, the_gradient

PATHS: tuple[EnginePath, ...] = ("portable", "native") if build.library(torch.float32) is not None else ("portable",)
BY_PATTERN: dict[str, list[Optimizer]] = {}
for spec in OPTIMIZERS:
    BY_PATTERN.setdefault(spec.pattern, []).append(spec.model_fields["kind"].default)
OF_SAMPLES = {spec.model_fields["kind"].default for spec in OPTIMIZERS if spec.reads_samples}
FREE = [kind for kind, rule in RULES.items() if rule.degrees is not None]
DEEP = mlp(depth=200, width=32, activation="sigmoid")
"""Its gradient is near 1e-125 at the input."""
FAINT = mlp(depth=6, width=7, activation="tanh", output_init={"kind": "xavier_normal", "gain": 1e-38})
"""What the output layer hands down is near 1e-38 until its weights have been moved."""
RADIAL = layers(
    *3 * [
        {"kind": "rbf", "out_features": 6},
        {"kind": "activation", "activation": "gaussian"},
        {"kind": "rbf", "out_features": 5, "distance": "log", "trainable": ["centres"]},
        {"kind": "activation", "activation": "inverse_multiquadric"},
    ]
)  # fmt: skip
NETWORKS: dict[str, Any] = {
    "dense": mlp(depth=11, width=6, activation="tanh"),
    "dropout": layers(*DROPPING, *DROPPING, *DROPPING),
    **{
        kind: mlp(depth=7, width=6, activation="sigmoid", normalization=kind)
        for kind in (
            "batch",
            "critical_batch",
            "layer",
            "rms",
            "actnorm",
            "weight",
            "weight_standardization",
            "spectral",
            "propagation",
        )
    },
    "group": mlp(depth=7, width=6, activation="sigmoid", normalization={"kind": "group", "groups": 2}),
    "instance": layers(
        {"kind": "linear", "out_features": 24},
        {"kind": "unflatten", "shape": [6, 4]},
        {"kind": "normalization", "normalization": "instance"},
        {"kind": "activation", "activation": "sigmoid"},
        {"kind": "conv1d", "out_channels": 3},
        "flatten",
    ),
    "convolution": layers(
        {"kind": "linear", "out_features": 24},
        {"kind": "unflatten", "shape": [2, 4, 3]},
        *2 * [{"kind": "conv2d", "out_channels": 3}, {"kind": "activation", "activation": "sigmoid"}],
        "flatten",
    ),
    "residual": mlp(depth=7, width=6, activation="tanh", shortcut="residual"),
    "densely connected": mlp(depth=7, width=4, activation="tanh", shortcut="dense"),
    "attention": layers(
        {"kind": "linear", "out_features": 24},
        {"kind": "unflatten", "shape": [4, 6]},
        *3 * [{"kind": "attention", "heads": 2}, {"kind": "activation", "activation": "sigmoid"}],
        "flatten",
    ),
    "recurrent": layers(
        {"kind": "linear", "out_features": 36},
        {"kind": "unflatten", "shape": [9, 4]},
        *({"kind": kind, "hidden_size": 5, "output": "sequence"} for kind in ("rnn", "gru", "lstm")),
        {"kind": "dropout", "p": 0.2},
        *({"kind": kind, "hidden_size": 4, "output": "sequence"} for kind in ("rnn", "gru")),
        {"kind": "lstm", "hidden_size": 4},
    ),
    "highway": mlp(depth=7, width=6, activation="sigmoid", shortcut="highway"),
    "radial": RADIAL,
}


def extended(given: Shard) -> Shard:
    return given.model_copy(update={"gradient_range": "extended"})


def test_every_normalisation_is_among_the_networks() -> None:
    assert {spec.model_fields["kind"].default for spec in HIDDEN_NORMALIZATIONS} <= set(NETWORKS)


@torch.no_grad()
def test_two_hundred_sigmoid_layers_agree_with_float64() -> None:
    """Norms to 1e-4 decades, signs wherever |g| is above 1e-4 of the layer's rms, beside a plain float32 that has lost them."""
    planned = shard(DEEP, "signsgd", problem="digits", batch_size=128, seeds=(0, 1), precision="float32")
    exact = program(planned.model_copy(update={"precision": "float64"}))
    mine, plain = program(extended(planned)), program(planned)
    exact.theta.copy_(mine.theta)
    found = []
    for each in (mine, exact, plain):
        differentiate(each, *each.batches.at(0))
        found.append(measure(each, 0))
    assert float(found[1]["gradient_log10_rms"][0].max()) < -110
    for name in ("gradient_log10_rms", "gradient_norm", "gradient_max_abs", "gradient_std", "error_signal_norm"):
        one, other = (columns[name] if "log10" in name else columns[name].abs().log10() for columns in found[:2])
        assert float((one - other).abs().max()) < 1e-4, name
    for columns in mine.columns:
        own, true = mine.gradient[:, columns], exact.gradient[:, columns]
        unit = true / true.abs().amax(1, keepdim=True)
        large = unit.abs() > 1e-4 * unit.square().mean(1, keepdim=True).sqrt()
        assert torch.equal(own.sign()[large], true.sign()[large].float())
    assert not plain.gradient[:, plain.columns[0]].any()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("pattern", BY_PATTERN)
def test_where_float32_holds_everything_nothing_changes(pattern: str, network: str) -> None:
    """Powers of two are exact: every rule takes the same steps and every statistic has the same bits."""
    kinds = BY_PATTERN[pattern]
    if network not in ("dense", "dropout"):
        kinds = [kind for kind in kinds if kind not in OF_SAMPLES]
    if kinds:
        planned = shard(NETWORKS[network], *kinds, steps=4, precision="float32")
        assert_same(train(extended(planned)), train(planned))


@pytest.mark.skipif(len(PATHS) < 2, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("start", [0, 2])
def test_the_compiled_path_agrees(start: int, precision: Any, tmp_path: Path) -> None:
    """Every rule of one gradient; below the output layer the first gradient is far below what float32 holds."""
    rules = comparable(BY_PATTERN["one_gradient"], precision)
    one_step(extended(shard(FAINT, *rules, precision=precision)), start, tmp_path)


@pytest.mark.parametrize("path", PATHS)
def test_an_interrupted_training_is_the_same_bit_for_bit(path: EnginePath, tmp_path: Path) -> None:
    planned = extended(shard(mlp(depth=90, width=8, activation="sigmoid"), *FREE, "adam", precision="float32", steps=7))
    assert_same(train_interrupted(planned, [1, 4], tmp_path, path=path), train(planned, path=path))


@torch.no_grad()
def test_what_the_rules_are_given() -> None:
    """Those that do not depend on the magnitude true signs, all others what float32 holds of the gradient."""
    planned = shard(mlp(depth=90, width=16, activation="sigmoid"), "signum", "adam", precision="float32")
    exact, mine = program(planned.model_copy(update={"precision": "float64"})), program(extended(planned))
    exact.theta.copy_(mine.theta)
    for each in (exact, mine):
        differentiate(each, *each.batches.at(0))
        give(each)
    signs, held = mine.gradient.split(1)
    large = exact.gradient[:1].abs() > 1e-2 * exact.gradient[:1].square().mean().sqrt()
    assert torch.equal(signs.sign()[large], exact.gradient[:1].sign()[large].float())
    assert signs.abs().amax() < 2**30 and held[:, mine.columns[0]].count_nonzero() == 0
    torch.testing.assert_close(held, exact.gradient[1:].float(), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("kind", FREE)
@torch.no_grad()
def test_rules_said_to_be_free_of_the_magnitude_are(kind: str) -> None:
    """From a rescaled memory a rescaled gradient moves θ to the same bits: a power of two for each layer."""
    mine, other = (program(shard(mlp(depth=3, width=5), kind, precision="float32")) for _ in range(2))
    powers = [-40.0, 17.0, 3.0, -8.0]
    for _ in range(5):
        differentiate(mine, *mine.batches.at(0))
        other.gradient.copy_(mine.gradient)
        for columns, power in zip(mine.columns, powers, strict=True):
            scale(other.gradient[:, columns], torch.tensor([power], dtype=torch.float64))
        for each in (mine, other):
            (group,) = each.groups
            told = torch.tensor([powers], dtype=torch.float64).neg() if each is other else None
            given = replace(the_gradient(each), exponents=told)
            group.rule.update(each.theta, given, group.state, group.hyper, **group.flags)
        assert torch.equal(mine.theta, other.theta)
    degrees = RULES[kind].degrees
    assert degrees is not None
    for name, degree in degrees.items():
        if name in mine.groups[0].state:
            for columns, power in zip(mine.columns, powers, strict=True):
                scale(mine.groups[0].state[name][:, columns], torch.tensor([power * degree], dtype=torch.float64))
            assert torch.equal(mine.groups[0].state[name], other.groups[0].state[name])


@pytest.mark.parametrize("path", PATHS)
def test_memories_follow_a_gradient_that_drifts_away(path: EnginePath) -> None:
    """The first step multiplies the gradient by more than what is left alone: all goes on as in float64, where nothing has to move."""
    decaying: Optimizer = {"kind": "lars", "name": "decaying", "weight_decay": 0.01, "momentum": 0.5}
    rules: list[Optimizer] = ["signum", "lion", "normalized_gradient", "lars", decaying, "fromage", "muon"]
    planned = extended(shard(FAINT, *rules, precision="float64", steps=8))
    found, expected = train(planned, path=path), train(planned.model_copy(update={"gradient_range": "standard"}))
    bottom = [row for row in expected.statistics.to_pylist() if row["depth"] == 0]
    exponents = [row["gradient_log10_rms"] for row in bottom]
    assert max(exponents) - min(exponents) > 24 * 0.30103
    for mine, other in zip(found.statistics.to_pylist(), expected.statistics.to_pylist(), strict=True):
        for name in ("gradient_log10_rms", "weight_norm", "update_norm"):
            told = other[name]
            assert mine[name] == (told if told is None else pytest.approx(told, rel=1e-9)), (
                mine["step"],
                mine["layer"],
            )


@pytest.mark.parametrize("path", PATHS)
def test_an_exploding_gradient_ends_those_who_see_its_size_only(path: EnginePath) -> None:
    network = mlp(depth=60, width=16, activation="sin", init={"kind": "xavier_normal", "gain": 60.0})
    planned = shard(network, "signsgd", "sgd", precision="float32", steps=3)
    standard, found = train(planned, path=path), train(extended(planned), path=path)
    assert [ending.divergence is None for ending in standard.endings] == [False, False]
    assert [ending.divergence is None for ending in found.endings] == [True, False]
    assert found.endings[1].divergence == standard.endings[1].divergence


@torch.no_grad()
def test_a_gradient_of_zero_moves_no_reference() -> None:
    running = program(extended(shard(mlp(depth=4, width=5), "signum", precision="float32", recorded=[0, 3])))
    advance(running, Recording(running), 0, 2)
    assert running.extended is not None
    before, memory = running.extended.state["reference"].clone(), running.groups[0].state["exp_avg"].clone()
    running.backward(torch.zeros(1, 16, 3))
    give(running)
    assert torch.equal(running.extended.state["reference"], before)
    assert torch.equal(running.groups[0].state["exp_avg"], memory) and not running.gradient.any()


def test_scaling_rounds_once() -> None:
    x = torch.tensor([[1.0000001, -3.0, 0.0, float("inf")]] * 4)
    exponents = torch.tensor([-140.0, -300.0, 130.0, 10.0], dtype=torch.float64)
    expected = torch.ldexp(x.double(), exponents[:, None].int()).float()
    scale(x, exponents)
    assert torch.equal(x, expected)
