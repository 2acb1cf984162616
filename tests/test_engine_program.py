"""A shard trained as one program: independence of its trials, repetition, interruption, divergence, and a plain torch loop."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from engine_samples import (
    DROPPING,
    TEACHER,
    Optimizer,
    assert_close,
    assert_same,
    layers,
    linears,
    mlp,
    only,
    parameters,
    program,
    rows,
    shard,
    train,
    train_interrupted,
    training,
    with_a_diverging,
)
from reference.networks import LOSSES, flat, flat_gradient, sequential
from torch import Tensor

from workers.contract.initialisers import InitSpec
from workers.contract.optimizers import OPTIMIZERS, Pattern
from workers.contract.plan import Execution, Shard
from workers.contract.statistics import recorded
from workers.engine.execution import choose
from workers.engine.initialisers import draw_weight
from workers.engine.network import Dropout, linear
from workers.engine.recording import Recording
from workers.engine.shard import Training
from workers.engine.train import advance, differentiate, look_twice

PATTERNS: dict[str, list[Optimizer]] = {
    pattern: [spec.model_fields["kind"].default for spec in OPTIMIZERS if spec.pattern == pattern]
    for pattern in get_args(Pattern)
}
MORE: dict[str, list[Optimizer]] = {
    "one_gradient": [
        {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"kind": "rmsprop", "centered": True, "momentum": 0.5},
        {"kind": "adam", "amsgrad": True, "weight_decay": 0.01},
    ],
    "two_gradients": [{"kind": "vsgd_fd", "slow_start": 4}],
    "curvature": [{"kind": kind, "slow_start": 3} for kind in PATTERNS["curvature"]],
    "own_labels": [{"kind": "sophia", "update_period": 3}],
    "population": [{"kind": "openai_es", "momentum": 0.9, "ranked": False, "population": 6}],
}
"""Settings with states of their own."""


def everything(pattern: str, **more: Any) -> Shard:
    """Every optimizer on two seeds, through dropout."""
    return shard(layers(*DROPPING), *PATTERNS[pattern], *MORE.get(pattern, []), seeds=(0, 1), **more)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_trial_does_not_depend_on_its_neighbours(pattern: str) -> None:
    """Alone, among some or among all, in one chunk or in several, every trial has the same numbers up to rounding."""
    given = everything(pattern)
    together = train(given)
    last = len(given.trials) - 1
    for some in ([0], [last], [0, 2, last]):
        assert_close(train(only(given, *some)), together)
    assert_close(train(given, [1, last]), together)
    assert_close(train(given, [1] * (last + 1), threads=2), together)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_threads_change_no_bit(pattern: str) -> None:
    """The same chunks on one thread or on two, and a second time, give the same numbers bit for bit."""
    given = everything(pattern, precision="float32")
    chunks = [1, len(given.trials) - 2, 1]
    once = train(given, chunks)
    assert_same(train(given, chunks, threads=2), once)
    assert_same(train(given, chunks), once)


@pytest.mark.parametrize("stops", [[1], [3, 4], [2, 5, 9, 10]], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_resumed_training_is_the_undisturbed_one(pattern: str, stops: list[int], tmp_path: Path) -> None:
    """Stopped before, at and after recorded steps and within epochs, all numbers are the same bit for bit; a diverged trial included."""
    given = everything(pattern, precision="float32", steps=11, recorded=[0, 3, 5, 8, 11])
    if pattern == "one_gradient":
        given = with_a_diverging(given)
    chunks = [3, len(given.trials) - 3]
    assert_same(train_interrupted(given, stops, tmp_path, chunks), train(given, chunks))


def test_a_seed_is_the_same_in_every_arm() -> None:
    """Initial weights and batches belong to the seed: equal in two arms, different in two seeds."""
    made = program(shard(mlp(), "sgd", "adam", "rmsprop", seeds=(4, 9)))
    x, y = made.batches.at(7)
    for values in (made.theta, x, y):
        assert torch.equal(values[0], values[2]) and torch.equal(values[1], values[5])
        assert not torch.equal(values[0], values[1])


def test_another_layer_shifts_nobodys_draws() -> None:
    """Layers that keep their names and shapes keep their weights when others are added."""
    inner = [{"kind": "linear", "out_features": 13, "name": name} for name in ("first", "second", "third")]
    short, long = (program(shard(layers(*some), seeds=(3,))) for some in (inner[:2], inner))
    weights = {layer.layer.path: layer.weight for layer in linears(long)}
    assert len(weights) == 4
    for layer in linears(short):
        assert torch.equal(layer.weight, weights[layer.layer.path])


STANDSTILL: dict[str, dict[str, Any]] = {
    kind: {"step_min": 0.0} for kind in ("rprop", "rprop_minus", "rprop_plus", "irprop_plus")
}
"""What else must be zero for nothing to move; the contract asks for positive numbers."""
WITH_RATE = [spec.model_fields["kind"].default for spec in OPTIMIZERS if "lr" in spec.model_fields]


@pytest.mark.parametrize("kind", WITH_RATE)
def test_a_learning_rate_of_zero_moves_nothing(kind: str) -> None:
    """Weights are bit for bit as drawn, and the recorded updates zero."""
    given = shard(mlp(), kind)
    changed = {**given.trials[0].hyperparameters, "lr": 0.0, **STANDSTILL.get(kind, {})}
    given = given.model_copy(update={"trials": [given.trials[0].model_copy(update={"hyperparameters": changed})]})
    running = training(given)
    running.advance(given.steps)
    assert torch.equal(parameters(running), program(given).theta)
    table, _ = running.tables()
    assert table is not None
    assert {row["update_norm"] for row in table.to_pylist() if row["step"] < given.steps} == {0.0}


LOOPS: dict[str, tuple[Optimizer, Any]] = {
    "sgd": ({"kind": "sgd", "lr": 0.05, "momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "adam": ({"kind": "adam", "lr": 0.02}, lambda p: torch.optim.Adam(p, lr=0.02)),
}


@pytest.mark.parametrize("problem", ["wine", TEACHER], ids=["classes", "targets"])
@pytest.mark.parametrize("kind", LOOPS)
def test_is_a_plain_torch_loop(kind: str, problem: Any) -> None:
    """Fifty steps of nn.Sequential and torch.optim from the same weights on the same batches: losses, weights and scores within 1e-10."""
    optimizer, make = LOOPS[kind]
    given = shard(mlp("tanh", depth=3), optimizer, problem=problem, steps=50, seeds=(0, 1, 2))
    running = training(given)
    running.advance(given.steps)
    _, curves = running.tables()
    assert curves is not None
    recorded, start = rows(curves), program(given)
    for row in range(len(given.trials)):
        network = sequential(start, row)
        steps, loss = make(network.parameters()), LOSSES[given.problem.loss]()
        for step in range(given.steps + 1):
            for name in ("training", "validation"):
                split = getattr(start.data, name)
                output, short = network(split.x), name.replace("training", "train")
                found = recorded[row, step]
                assert found[f"{short}_loss"] == pytest.approx(loss(output, split.y).item(), rel=1e-10, abs=1e-10)
                accuracy = None if problem is TEACHER else (output.argmax(1) == split.y).double().mean().item()
                assert found[f"{short}_accuracy"] == pytest.approx(accuracy)
            if step < given.steps:
                x, y = start.batches.at(step)
                steps.zero_grad()
                loss(network(x[row]), y[row]).backward()
                steps.step()
        weights = flat([parameter.detach() for parameter in network.parameters()])
        torch.testing.assert_close(parameters(running)[row], weights, rtol=1e-10, atol=1e-10)
        score = loss(network(start.data.test.x), start.data.test.y).item()
        assert running.endings()[row].test_loss == pytest.approx(score, rel=1e-10)


def test_records_what_was_asked_for() -> None:
    """Statistics at the recorded steps for every trial and layer, whole splits at a hundred of them at most, both ends included."""
    recorded = [0, *range(5, 400, 3), 400]
    given = shard(mlp(depth=1, width=2), "sgd", "adam", steps=400, recorded=recorded)
    run = train(given)
    assert set(rows(run.statistics)) == {
        (trial, step, layer) for trial in (0, 1) for step in recorded for layer in ("hidden.0.linear", "output")
    }
    evaluated = sorted({step for trial, step in rows(run.curves) if trial == 1})
    assert len(evaluated) == 100 and evaluated[0] == 0 and evaluated[-1] == 400
    assert set(evaluated) <= set(recorded)


def test_tables_carry_the_keys_of_the_contract() -> None:
    """Each row says whose it is: the arm, the seed, the rate where there is one, and the layer's depth."""
    given = shard(mlp(depth=1), {"kind": "sgd", "lr": 0.25}, seeds=(7,), steps=1)
    first = train(given).statistics.to_pylist()
    assert [(row["layer"], row["depth"]) for row in first[:2]] == [("hidden.0.linear", 0), ("output", 1)]
    assert {(row["variant"], row["optimizer"], row["seed"], row["lr"]) for row in first} == {("base", "0 sgd", 7, 0.25)}
    assert set(recorded("default")) <= set(first[0])
    assert {row["lr"] for row in train(shard(mlp(), "vsgd_fd", steps=1)).statistics.to_pylist()} == {None}


@pytest.mark.parametrize("trials", [1, 3, 40, 200])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_chunks_hold_every_trial(trials: int, threads: int) -> None:
    """Chunks differ by one trial at most and leave nobody out; on a GPU there is one."""
    given = shard(mlp(width=64), seeds=tuple(range(trials)), batch_size=100)
    chosen = choose(given, "cpu", threads)
    assert sum(chosen.chunks) == trials
    assert max(chosen.chunks) - min(chosen.chunks) <= 1
    assert len(chosen.chunks) >= min(trials, threads)
    assert choose(given, "cuda", threads).chunks == [trials]


def test_a_batch_larger_than_the_training_split_is_refused() -> None:
    """In a plan that no API has checked, on either path: compiled code would read beyond the rows."""
    given = shard(mlp(), batch_size=10_000)
    for path in ("portable", "native"):
        with pytest.raises(ValueError, match=r"a batch of 10000, and .* training samples"):
            Training(given, Execution(device="cpu", threads=1, chunks=[len(given.trials)], path=path))


def test_gradient_of_a_batch_is_the_mean_over_its_samples() -> None:
    """A batch's gradient is the average of its samples' own, each taken by autograd."""
    made = program(shard(mlp(), batch_size=6))
    x, y = made.batches.at(0)
    made.backward(made.loss.gradient(made.forward(x, training=True), y))
    twin, loss = sequential(made, 0), LOSSES["cross_entropy"]()
    own = [flat_gradient(twin, loss(twin(x[0, b : b + 1]), y[0, b : b + 1])) for b in range(6)]
    np.testing.assert_allclose(made.gradient[0], torch.stack(own).mean(0), rtol=1e-10, atol=1e-12)


def test_the_second_gradient_is_of_the_same_samples_elsewhere() -> None:
    """What two-gradient rules are given, by autograd: the gradient at θ + probe under the same dropout, and mean squares over samples."""
    made = program(
        shard(layers(*DROPPING), *PATTERNS["two_gradients"], *MORE["two_gradients"], batch_size=6, seeds=(0, 1))
    )
    advance(made, Recording(made), 0, 2)  # some rules probe where they are in their first step
    made.step.fill_(2)
    loss, theta = LOSSES["cross_entropy"](), made.theta.clone()
    x, y = made.batches.at(2)
    differentiate(made, x, y)
    mean = made.gradient.clone()
    (drops,) = (layer for layer in made.layers if isinstance(layer, Dropout))
    assert drops.mask is not None
    mask = drops.mask.clone()
    given = look_twice(made, x, y, 0)
    assert given.at_probe is not None and given.displacement is not None and given.sample_squares is not None
    assert torch.equal(made.theta, theta) and torch.equal(made.gradient, mean) and torch.equal(given.mean, mean)
    assert given.displacement.abs().amax(1).min() > 0
    path = next(spec.path for spec in made.shard.network if spec.spec.kind == "dropout")
    for row in range(len(made.trials)):
        twin = sequential(made, row, {path: mask[row]})
        own = [flat_gradient(twin, loss(twin(x[row])[b : b + 1], y[row, b : b + 1])) for b in range(6)]
        squares = torch.stack(own).square().mean(0)
        torch.testing.assert_close(given.sample_squares[row], squares, rtol=1e-10, atol=1e-14)
        made.theta.add_(given.displacement)
        there = sequential(made, row, {path: mask[row]})
        made.theta.copy_(theta)
        expected = flat_gradient(there, loss(there(x[row]), y[row]))
        torch.testing.assert_close(given.at_probe[row], expected, rtol=1e-10, atol=1e-12)


def test_chunks_draw_each_start_once_and_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that share seeds draw a layer's weights once for each seed and start, bit for bit, as programs built by themselves."""
    given = shard(mlp(depth=3), "sgd", "adam", "rmsprop", seeds=(0, 1))
    alone = torch.cat([program(only(given, place)).theta for place in range(len(given.trials))])
    drawn: list[tuple[int, str]] = []

    def counted(init: InitSpec, out: int, into: int, seed: int, path: str) -> Tensor:
        drawn.append((seed, path))
        return draw_weight(init, out, into, seed, path)

    monkeypatch.setattr(linear, "draw_weight", counted)
    together = training(given, [2, 2, 2])
    assert torch.equal(torch.cat([own.theta for own in together.programs]), alone)
    assert len(drawn) == len(set(drawn)) == 2 * len(together.programs[0].measured)
