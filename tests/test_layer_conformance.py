"""Every layer of the table, with non-linearities that saturate: it trains, and its gradients stay those of autograd."""

from typing import Any

import pytest
import torch
from engine_samples import layers, program, shard, training
from reference.networks import flat_gradient, sequential, total

from workers.contract.layers import LAYERS
from workers.contract.shapes import walk
from workers.engine.network import Dropout
from workers.engine.program import every
from workers.engine.train import differentiate

BARE = "the non-linearity, as a layer that has one of its own is told it"
THETA = "the non-linearity that is tried"
SATURATING = ("sigmoid", "tanh", "gaussian")
STEPS = 3
TOKENS = {"kind": "copy", "alphabet": 2, "span": 2, "delay": 1, "tokens": True, "count": 200}

LINEAR: dict[str, Any] = {"kind": "linear", "out_features": 6}
SEQUENCE = [{"kind": "linear", "out_features": 12}, {"kind": "unflatten", "shape": [4, 3]}]
IMAGE = [{"kind": "linear", "out_features": 24}, {"kind": "unflatten", "shape": [2, 4, 3]}]
INSIDE = [LINEAR, THETA]

SAMPLES: dict[str, list[Any]] = {
    "linear": [LINEAR, THETA, LINEAR, THETA],
    "embedding": [{"kind": "embedding", "num_embeddings": 5, "embedding_dim": 3}, {"kind": "conv1d", "out_channels": 4}, THETA, "flatten"],
    "rbf": [{"kind": "rbf", "out_features": 6}, THETA, {"kind": "rbf", "out_features": 5}, THETA],
    **{
        kind: [
            *SEQUENCE,
            {"kind": kind, "hidden_size": 5, "activation": BARE, "output": "sequence"},
            {"kind": kind, "hidden_size": 4, "activation": BARE},
        ]
        for kind in ("rnn", "gru", "lstm")
    },
    "attention": [*SEQUENCE, {"kind": "attention"}, THETA, "flatten"],
    "positional_encoding": [*SEQUENCE, {"kind": "positional_encoding", "encoding": "learned"}, {"kind": "attention"}, THETA, "flatten"],
    "conv1d": [*SEQUENCE, {"kind": "conv1d", "out_channels": 4}, THETA, "flatten"],
    "conv2d": [*IMAGE, {"kind": "conv2d", "out_channels": 4}, THETA, "flatten"],
    "activation": [LINEAR, THETA, THETA],
    "dropout": [LINEAR, THETA, {"kind": "dropout", "p": 0.4}, LINEAR, THETA],
    "flatten": [*IMAGE, THETA, "flatten"],
    "unflatten": [*SEQUENCE, THETA, "flatten"],
    "max_pool": [*IMAGE, THETA, {"kind": "max_pool", "kernel_size": 2}, "flatten"],
    "average_pool": [*SEQUENCE, THETA, {"kind": "average_pool", "kernel_size": 2}, "flatten"],
    "global_pool": [*IMAGE, THETA, {"kind": "global_pool", "of": "max"}],
    "normalization": [LINEAR, {"kind": "normalization", "normalization": "batch"}, THETA],
    "sequential": [{"kind": "sequential", "layers": INSIDE}],
    "repeat": [{"kind": "repeat", "times": 2, "layers": INSIDE}],
    "residual": [LINEAR, {"kind": "residual", "trainable": True, "layers": INSIDE}],
    "highway": [LINEAR, {"kind": "highway", "layers": INSIDE}],
    "auxiliary_head": [LINEAR, THETA, {"kind": "auxiliary_head", "weight": 0.5}, LINEAR, THETA],
    "dense": [{"kind": "repeat", "times": 2, "layers": [{"kind": "dense", "layers": INSIDE}]}],
}  # fmt: skip
"""By kind: a small network of nine features that has the layer."""


def test_every_layer_has_a_sample() -> None:
    """A new layer is added to the table above; nobody else would try it with what saturates."""
    assert {spec.model_fields["kind"].default for spec in LAYERS} == set(SAMPLES)


@pytest.mark.parametrize("theta", SATURATING)
@pytest.mark.parametrize("kind", SAMPLES)
def test_trains_three_steps_and_has_the_gradients_of_autograd(kind: str, theta: str) -> None:
    """Two seeds in one program, float64: finite losses, every parameter tensor of each has moved, then the gradient is the twin's."""
    problem = TOKENS if kind == "embedding" else "wine"
    made = shard(layers(*_with(SAMPLES[kind], theta)), "adam", problem=problem, seeds=(0, 1), steps=STEPS)
    start = program(made).theta
    whole = training(made)
    whole.advance(STEPS)
    assert all(ending.divergence is None for ending in whole.endings())
    (running,) = whole.programs
    moved = running.theta - start
    place = 0
    for layer in walk(made.network):
        for tensor in layer.tensors:
            size = torch.Size(tensor).numel()
            assert (moved[:, place : place + size].abs().amax(1) > 0).all(), f"{layer.path} {tensor} did not move"
            place += size
    x, y = running.batches.at(STEPS)
    differentiate(running, x, y)
    masks = {
        spec.path: layer.mask
        for spec, layer in zip(walk(made.network), every(running.layers), strict=True)
        if isinstance(layer, Dropout) and layer.mask is not None
    }
    for row in range(2):
        twin = sequential(running, row, {path: mask[row] for path, mask in masks.items()})
        loss = total(twin, x[row], y[row], "cross_entropy")
        torch.testing.assert_close(running.gradient[row], flat_gradient(twin, loss), rtol=1e-10, atol=1e-10)


def _with(given: Any, theta: str) -> Any:
    if given == BARE:
        return theta
    if given == THETA:
        return {"kind": "activation", "activation": theta}
    if isinstance(given, dict):
        return {name: _with(value, theta) for name, value in given.items()}
    return [_with(part, theta) for part in given] if isinstance(given, list) else given
