"""Recurrent layers beside torch.nn's own, and their error signal where float32 does not hold it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import layers, program, shard, train
from reference.networks import flat
from torch import Tensor, nn

from workers.engine.network.recurrent import Gru, Lstm, Rnn
from workers.engine.program import Program
from workers.engine.train import differentiate, measure

KINDS: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def over(steps: int, features: int, *inner: Any) -> dict[str, Any]:
    """A sequence of the inputs, and what is made of it."""
    into: list[Any] = [
        {"kind": "linear", "out_features": steps * features},
        {"kind": "unflatten", "shape": [steps, features]},
    ]
    return layers(*into, *inner)


def recurrent(running: Program) -> Rnn | Gru | Lstm:
    return next(layer for layer in running.layers if isinstance(layer, Rnn | Gru | Lstm))


def torch_of(layer: Rnn | Gru | Lstm, kind: str, row: int) -> nn.Module:
    """torch.nn's own with one trial's parameters; where it has two biases, what is not there is zero."""
    weight, through_time, *biases = layer.weight, layer.recurrent, *layer.biases
    twin = KINDS[kind](weight.shape[2], layer.size, bias=bool(biases), batch_first=True, dtype=torch.float64)
    given: list[Tensor] = [weight[row], through_time[row]]
    if biases:
        second = torch.zeros_like(biases[0][row])
        if kind == "gru":
            second[2 * layer.size :] = biases[1][row]
        given += [biases[0][row], second]
    for parameter, value in zip(twin.parameters(), given, strict=True):
        parameter.data.copy_(value)
    return twin


@pytest.mark.parametrize("output", ["last", "sequence"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_is_torch_nn(kind: str, bias: bool, output: str) -> None:
    """Output, and the gradients of input and parameters, of every trial; float64."""
    spec = {"kind": kind, "hidden_size": 7, "bias": bias, "output": output}
    if kind == "lstm" and not bias:
        spec["forget_bias"] = 0
    running = program(shard(over(6, 3, spec, "flatten" if output == "sequence" else "dropout"), seeds=(0, 1)))
    layer = recurrent(running)
    x = torch.randn(2, 5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = layer.forward(x, training=True)
    delta = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    below = layer.backward(delta, wanted=True)
    assert below is not None
    for row in range(2):
        twin = torch_of(layer, kind, row)
        with torch.enable_grad():
            given = x[row].clone().requires_grad_()
            states = twin(given)[0]
            expected = states if output == "sequence" else states[:, -1]
            at_input, *at_parameters = torch.autograd.grad(expected, [given, *twin.parameters()], delta[row])
        if kind == "gru" and bias:
            at_parameters[3] = at_parameters[3][14:]
        elif bias:
            at_parameters = at_parameters[:3]
        torch.testing.assert_close(found[row], expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(below[row], at_input, rtol=1e-10, atol=1e-12)
        own = torch.cat([part[row].flatten() for part in layer.gradients])
        torch.testing.assert_close(own, flat(at_parameters), rtol=1e-10, atol=1e-12)


def test_a_forget_gate_starts_open() -> None:
    """Its bias is 1, all others are zero; every gate's part of U is orthogonal by itself, and no two seeds' are alike."""
    layer = recurrent(program(shard(over(4, 3, {"kind": "lstm", "hidden_size": 6}), seeds=(0, 1))))
    assert layer.biases[0].view(2, 4, 6).unique(dim=2)[..., 0].tolist() == [[0.0, 1.0, 0.0, 0.0]] * 2
    gates = layer.recurrent.view(2, 4, 6, 6)
    torch.testing.assert_close(gates @ gates.mT, torch.eye(6, dtype=torch.float64).expand(2, 4, 6, 6))
    assert not torch.equal(gates[0, 0], gates[1, 0]) and not torch.equal(gates[0, 0], gates[0, 1])


def test_saturation_is_that_of_the_units() -> None:
    """An rnn's own non-linearity is what its row of the statistics is about, over all steps."""
    spec = {"kind": "rnn", "hidden_size": 6, "init": {"kind": "lecun_normal", "gain": 20.0}}
    running = program(shard(over(5, 3, spec)))
    with torch.no_grad():
        differentiate(running, *running.batches.at(0))
        found = measure(running, 0)
    layer = recurrent(running)
    assert isinstance(layer, Rnn)
    states = layer.seen[1:, ..., :6]
    small = (1 - states**2 < 0.1).double().mean()
    assert found["saturation_fraction"][1, 0] == pytest.approx(float(small)) and small > 0.5
    assert found["activation_mean"][1, 0] == pytest.approx(float(states.mean()))


def log_norms(each: Program) -> Any:
    """[L, T] log₁₀ of every layer's gradient, root mean square."""
    differentiate(each, *each.batches.at(0))
    return measure(each, 0)["gradient_log10_rms"].numpy()


@torch.no_grad()
def test_what_vanishes_from_layer_to_layer_is_held() -> None:
    """72 layers: log-norms of a float64 twin to 1e-4, where a plain float32 has lost them."""
    kinds = 24 * ("rnn", "rnn", "gru")
    stack = [{"kind": kind, "hidden_size": 5, "activation": "sigmoid", "output": "sequence"} for kind in kinds]
    planned = shard(over(5, 3, *stack, "flatten"), "signsgd", seeds=(0, 1), precision="float32")
    exact = program(planned.model_copy(update={"precision": "float64"}))
    mine, plain = program(planned.model_copy(update={"gradient_range": "extended"})), program(planned)
    exact.theta.copy_(mine.theta)
    found, expected = log_norms(mine), log_norms(exact)
    assert expected.min() < -50 and np.abs(found - expected).max() < 1e-4
    assert not np.isfinite(log_norms(plain)).all()


@pytest.mark.parametrize("output", ["last", "sequence"])
@torch.no_grad()
def test_what_explodes_through_time_is_held(output: str) -> None:
    """H stays at zero, where sin is steepest, and U multiplies δ by forty a step: far beyond float32 after sixty."""
    gain = {"kind": "orthogonal", "gain": 40.0}
    spec = {"kind": "rnn", "hidden_size": 6, "activation": "sin", "recurrent_init": gain, "output": output}
    planned = shard(over(60, 2, spec, "flatten" if output == "sequence" else "dropout"), "signsgd", precision="float32")
    exact = program(planned.model_copy(update={"precision": "float64"}))
    mine, plain = program(planned.model_copy(update={"gradient_range": "extended"})), program(planned)
    exact.theta.copy_(mine.theta)
    for each in (mine, exact, plain):
        recurrent(each).weight.zero_()
    found, expected = log_norms(mine)[1], log_norms(exact)[1]
    assert expected.min() > 80 and np.abs(found - expected).max() < 1e-4
    assert not np.isfinite(log_norms(plain)[1]).any()


def test_sequences_with_all_kinds_train() -> None:
    """Losses fall under adam, float32, in both ranges."""
    network = over(4, 4, *({"kind": kind, "hidden_size": 8, "output": "sequence"} for kind in KINDS), "flatten")
    planned = shard(network, {"kind": "adam", "lr": 0.01}, precision="float32", steps=60, recorded=[0, 60])
    for gradient_range in ("standard", "extended"):
        curves = train(planned.model_copy(update={"gradient_range": gradient_range})).curves.to_pylist()
        assert curves[-1]["train_loss"] < 0.3 * curves[0]["train_loss"]
