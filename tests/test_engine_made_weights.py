"""Weights that are made of what is learned, beside torch's parametrizations."""

from typing import Any

import pytest
import torch
from engine_samples import assert_same, layers, mlp, program, shard, train, train_interrupted
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from workers.engine.network import Linear
from workers.engine.program import Program

X = torch.randn(2, 5, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
DELTA = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def built(normalization: Any, **more: Any) -> tuple[Program, Linear]:
    linear = {"kind": "linear", "out_features": 6, "weight_normalization": normalization, **more}
    running = program(shard(layers(linear), seeds=(0, 1)))
    layer = running.layers[0]
    assert isinstance(layer, Linear)
    return running, layer


def gradients(output: Tensor, module: nn.Module, delta: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*module.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(output, parameters, delta), strict=True))


@torch.no_grad()
def test_weight_norm_is_torchs() -> None:
    """It starts as the layer it is of; output and gradients of direction, length and bias."""
    _, layer = built("weight")
    plain = program(shard(layers({"kind": "linear", "out_features": 6}), seeds=(0, 1))).layers[0]
    torch.testing.assert_close(layer.forward(X, True), plain.forward(X, True), rtol=1e-12, atol=1e-12)
    assert layer.made is not None and layer.bias is not None
    layer.made.parameters[1].mul_(1.7)
    found = layer.forward(X, True)
    layer.backward(DELTA, False)
    for row in range(2):
        twin = nn.Linear(13, 6, dtype=torch.float64)
        twin.bias.copy_(layer.bias[row])
        parametrizations.weight_norm(twin)
        made: Any = twin.parametrizations
        made.weight.original1.copy_(layer.weight[row])
        made.weight.original0.copy_(layer.made.parameters[1][row][:, None])
        with torch.enable_grad():
            expected = twin(X[row])
            given = gradients(expected, twin, DELTA[row])
        torch.testing.assert_close(found[row], expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(layer.weight_gradient[row], given["parametrizations.weight.original1"])
        torch.testing.assert_close(layer.made.gradients[1][row], given["parametrizations.weight.original0"][:, 0])
        torch.testing.assert_close(layer.bias_gradient[row], given["bias"])  # type: ignore[index]


@torch.no_grad()
def test_spectral_norm_is_torchs() -> None:
    """From the same vectors, one step of power iteration on: output, gradient, and the vectors after it; none in evaluation."""
    _, layer = built("spectral", bias=False)
    assert layer.made is not None
    before = {name: tensor.clone() for name, tensor in layer.made.state.items()}
    layer.weight.mul_(1 + 0.3 * torch.rand_like(layer.weight))
    found = layer.forward(X, True)
    layer.backward(DELTA, False)
    after = {name: tensor.clone() for name, tensor in layer.made.state.items()}
    for row in range(2):
        twin = nn.Linear(13, 6, bias=False, dtype=torch.float64)
        parametrizations.spectral_norm(twin)
        parametrized: Any = twin.parametrizations
        made = parametrized.weight
        made.original.copy_(layer.weight[row])
        made[0]._u.copy_(before["left"][row])
        made[0]._v.copy_(before["right"][row])
        with torch.enable_grad():
            expected = twin(X[row])
            given = gradients(expected, twin, DELTA[row])
        torch.testing.assert_close(found[row], expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(layer.weight_gradient[row], given["parametrizations.weight.original"])
        for name, theirs in (("left", made[0]._u), ("right", made[0]._v)):
            assert torch.allclose(after[name][row].abs(), theirs.abs(), rtol=1e-10)
    layer.forward(X, False)
    assert all(torch.equal(after[name], layer.made.state[name]) for name in after)


@torch.no_grad()
def test_standardised_weights_do_not_depend_on_where_they_came_from() -> None:
    """Rows have no mean and a length of the gain; shifting and stretching V changes nothing."""
    _, layer = built({"kind": "weight_standardization", "gain": 2.0})
    layer.forward(X, True)
    rows = layer.matrix
    assert rows.mean(2).abs().max() < 1e-14
    torch.testing.assert_close(rows.norm(dim=2), torch.full((2, 6), 2.0, dtype=torch.float64))
    before = layer.output.clone()
    layer.weight.mul_(3.0).add_(0.5)
    torch.testing.assert_close(layer.forward(X, True), before)


def test_propagation_is_unit_rows_and_a_normalised_non_linearity() -> None:
    """The short form says no more than the long one."""
    block: list[Any] = [
        {"kind": "linear", "out_features": 6, "weight_normalization": {"kind": "weight", "start": "unit"}},
        {"kind": "activation", "activation": {"kind": "normalised", "of": "gaussian"}},
    ]
    short = shard(mlp("gaussian", depth=3, normalization="propagation")).network
    long = shard(layers({"kind": "repeat", "times": 3, "name": "hidden", "layers": block})).network
    assert short == long


@pytest.mark.parametrize("optimizer", ["adam", "signsgd", "sam"])
def test_the_power_iteration_is_part_of_a_checkpoint(optimizer: str, tmp_path: Any) -> None:
    """Interrupted training gives the same numbers, bit for bit; a second look at the same batch does not move it on for good."""
    spec: Any = {"kind": "sgd", "sam": "sam"} if optimizer == "sam" else optimizer
    planned = shard(mlp("tanh", normalization="spectral"), spec, seeds=(0, 1), steps=6)
    assert_same(train_interrupted(planned, [1, 4], tmp_path), train(planned))


def test_what_reads_samples_is_refused() -> None:
    """Gradients of single samples are known of weights that are learned themselves only."""
    from service.errors import Problem
    from service.validation import read_comparison
    from workers.contract.checks import Limits

    body = {"problem": "digits", "network": mlp("tanh", normalization="weight"), "optimizers": ["sgd", "vsgd_l"]}
    with pytest.raises(Problem) as refusal:
        read_comparison(body, Limits())
    assert [wrong.pointer for wrong in refusal.value.errors] == ["/optimizers/1"]
    bad = {**body, "optimizers": ["sgd"], "network": mlp("tanh", normalization="weight", init="lsuv")}
    with pytest.raises(Problem) as refusal:
        read_comparison(bad, Limits())
    assert refusal.value.errors[0].code == "inconsistent"
