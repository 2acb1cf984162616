"""Non-linearities whose constants learn: what is added to the gradient, what statistics say, and what is refused. Gradients: layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from engine_samples import assert_same, layers, mlp, program, rows, shard, train, train_interrupted, training

from service.errors import Problem
from service.previews import preview
from service.validation import read_comparison
from workers.analysis.protocol import first_round
from workers.contract.activations import trained
from workers.contract.checks import Limits, expanded
from workers.contract.layers import Activation, Gru
from workers.contract.shapes import walk
from workers.engine import native
from workers.engine.train import differentiate, give

SCALED: dict[str, Any] = {"kind": "scaled", "of": "tanh", "a": 1.2, "b": 0.8, "c": 0.3, "trainable": ["a", "b", "c"]}
ALL = {**SCALED, "trainable": ["d", "c", "b", "a"], "per": "unit"}


def asked(network: dict[str, Any], *optimizers: str, **more: Any) -> dict[str, Any]:
    return {"problem": "wine", "network": network, "optimizers": list(optimizers or ("sgd",)), "tuning": None, **more}


def refused(body: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Problem) as refusal:
        read_comparison(body, Limits())
    return {str(wrong.pointer): wrong.message for wrong in refusal.value.errors}


@pytest.mark.parametrize("per", ["layer", "unit"])
@torch.no_grad()
def test_the_penalty_pulls_to_the_start(per: str) -> None:
    """λ(x − x₀) at every constant and nothing elsewhere; the statistics' gradient is the loss's."""
    network = mlp(activation={**SCALED, "per": per, "penalty": 0.25})
    spec = read_comparison(asked(network, precision="float64", seeds=2), Limits())
    running = program(first_round(spec).shards[0])
    start = running.theta.clone()
    running.theta.add_(torch.randn_like(start), alpha=0.1)
    differentiate(running, *running.batches.at(0))
    before = running.gradient.clone()
    give(running)
    pulled, place = running.gradient - before, 0
    for layer in walk(running.shard.network):
        own = slice(place, place + layer.own_parameters)
        place = own.stop
        expected = (
            0.25 * (running.theta - start)[:, own]
            if layer.spec.kind == "activation"
            else torch.zeros_like(start[:, own])
        )
        torch.testing.assert_close(pulled[:, own], expected, rtol=1e-12, atol=1e-15)


def test_they_learn_and_belong_to_the_row_below() -> None:
    """A tanh whose height learns undoes a factor that is missing; 4 constants of 6 units each lie with 6·13 + 6 weights and biases."""
    planned = shard(mlp(activation=ALL), {"kind": "adam", "lr": 0.01}, seeds=(0, 1), steps=40)
    whole = training(planned)
    whole.advance(40)
    (running,) = whole.programs
    first = running.measured[0].row
    assert sum(torch.Size(shape).numel() for shape in first.tensors) == 6 * 13 + 6 + 4 * 6
    constants = running.theta[:, 84:108].unflatten(1, (4, 6))
    start = torch.tensor([1.2, 0.8, 0.3, 0.0], dtype=torch.float64)[:, None]
    assert ((constants - start).abs().amax(2) > 0.01).all(), "every one of a, b, c and d has learned"
    assert all(ending.divergence is None for ending in whole.endings())


def test_saturation_is_held_against_what_was_learned() -> None:
    """|θ′| below a tenth of its largest, |a·b| of each unit: counted from the formula."""
    planned = shard(mlp(activation={**ALL, "b": 3.0}), {"kind": "sgd", "lr": 0.5}, steps=6)
    found = rows(train(planned).statistics)
    running = program(planned)
    whole = training(planned)
    whole.advance(6)
    running.theta.copy_(whole.programs[0].theta)
    running.forward(running.batches.at(6)[0], training=True)
    z = running.measured[0].layer.output[0]
    a, b, c, _ = running.theta[0, 84:108].unflatten(0, (4, 6))
    slope = (a * b * (1 - torch.tanh(b * z + c) ** 2)).abs()
    expected = (slope < 0.1 * (a * b).abs()).double().mean()
    assert 0.02 < expected < 0.98
    path = running.measured[0].path
    assert found[0, 6, path]["saturation_fraction"] == pytest.approx(float(expected), abs=1e-12)
    assert found[0, 6, path]["derivative_mean"] == pytest.approx(float(slope.mean()), rel=1e-12)


@pytest.mark.parametrize("activation", [{**SCALED, "penalty": 0.1}, ALL], ids=["penalised", "per unit"])
def test_interrupted_training_is_the_same_bit_for_bit(activation: Any, tmp_path: Path) -> None:
    spec = read_comparison(asked(mlp(activation=activation), "adam", "rprop", seeds=2, steps=6), Limits())
    planned = first_round(spec).shards[0]
    assert_same(train_interrupted(planned, [1, 4], tmp_path), train(planned))
    assert not native.supports(planned)


def test_a_preview_counts_and_predicts_them() -> None:
    """Of where they start: the forecast is that of fixed constants."""
    spec = read_comparison(
        asked(mlp(activation=SCALED, depth=3), variants={"fixed": {"activation": {**SCALED, "trainable": []}}}),
        Limits(),
    )
    shown = preview(spec, Limits(), [])
    fixed = shown.variants["fixed"]
    assert shown.parameters == fixed.parameters + 3 * 3
    assert [layer.parameters for layer in shown.layers if layer.kind == "activation"] == [3, 3, 3]
    assert shown.prediction is not None and fixed.prediction is not None
    assert shown.prediction.layers == fixed.prediction.layers


IMAGES = [{"kind": "unflatten", "shape": [1, 1, 13]}, {"kind": "conv2d", "out_channels": 2, "padding": 1}]
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "units of images": (
        asked(layers(*IMAGES, {"kind": "activation", "activation": ALL}, "flatten")), "/network/layers/2/activation/per", "per layer",
    ),
    "in a recurrent layer": (
        asked(layers({"kind": "unflatten", "shape": [13, 1]}, {"kind": "rnn", "hidden_size": 3, "activation": SCALED})),
        "/network/layers/1/activation", "leave `trainable` out",
    ),
    "propagation": (asked(mlp(activation=SCALED, normalization="propagation")), "/network/normalization", "fix them"),
    "penalties on activations": (
        asked(mlp(activation=SCALED, regularizers=[{"kind": "saturation", "weight": 0.1}])), "/network/regularizers/0", "evade",
    ),
    "samples": (asked(mlp(activation=SCALED), "sgd", "vsgd_b"), "/optimizers/1", "single samples"),
    "gradient-free rules with a penalty": (
        asked(mlp(activation={**SCALED, "penalty": 1}), "sgd", "spsa"), "/optimizers/1", "more than the gradient",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_with_them_is_told_so(name: str) -> None:
    body, pointer, word = REFUSED[name]
    assert word in refused(body)[pointer]


def test_a_variant_reaches_recurrent_layers_with_constants_that_stay() -> None:
    sequence = {"kind": "unflatten", "shape": [13, 1]}
    network = layers(sequence, {"kind": "gru", "hidden_size": 3}, {"kind": "activation", "activation": "sin"})
    spec = read_comparison(asked(network, variants={"a": {"activation": SCALED}}), Limits())
    learned = [layer.spec.activation for layer in expanded(spec)["a"] if isinstance(layer.spec, Gru | Activation)]
    assert [trained(activation) for activation in learned] == [(), ("a", "b", "c")]
