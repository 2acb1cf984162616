"""Curvature passed backwards, against autograd and a loop over samples; where it cannot be had it is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from engine_samples import DROPPING, TEACHER, layers, linears, mlp, program, rows, shard, train
from pydantic import TypeAdapter
from reference.networks import LOSSES, flat, sequential
from torch import Tensor

from workers.contract.checks import Limits, check
from workers.contract.comparison import ComparisonSpec
from workers.engine.curvature import bbprop
from workers.engine.network import Activation, Dropout, Linear
from workers.engine.program import Program
from workers.engine.train import differentiate, look_at_curvature

CHAIN = [
    part
    for name in ("tanh", "sigmoid")
    for part in ({"kind": "linear", "out_features": 1}, {"kind": "activation", "activation": name})
]
TOP: dict[str, Any] = {"kind": "linear", "out_features": 3, "output": True}
ALONE = layers(TOP)
TARGET = {"kind": "teacher", "inputs": 5, "targets": 1, "count": 100, "width": 8}


def differentiated(network: dict[str, Any], problem: Any) -> tuple[Program, Tensor, Tensor]:
    made = program(shard(network, "vsgd_l", problem=problem, seeds=(0, 1), batch_size=6))
    x, y = made.batches.at(0)
    differentiate(made, x, y)
    return made, x, y


@pytest.mark.parametrize(
    ("network", "problem"),
    [(ALONE, "wine"), (ALONE, TEACHER), (layers(*CHAIN), TARGET)],
    ids=["softmax regression", "linear regression", "chain of single units"],
)
def test_is_the_gauss_newton_diagonal_where_nothing_is_left_out(network: dict[str, Any], problem: Any) -> None:
    """Of one layer, or of layers of one unit each: JᵀHJ by autograd, the mean over samples, elementwise."""
    made, x, y = differentiated(network, problem)
    found = bbprop(made)
    loss = LOSSES[made.shard.problem.loss]()
    for row in range(2):
        twin = sequential(made, row)
        parameters = list(twin.parameters())
        expected = torch.zeros_like(found[row])
        for b in range(6):
            output = twin(x[row, b : b + 1])
            inner = torch.autograd.functional.hessian(lambda z, b=b, row=row: loss(z, y[row, b : b + 1]), output)[
                0, :, 0
            ]
            jacobian = torch.stack(
                [flat(list(torch.autograd.grad(one, parameters, retain_graph=True))) for one in output[0]]
            )
            expected += torch.einsum("op,oq,qp->p", jacobian, inner, jacobian) / 6
        torch.testing.assert_close(found[row], expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("problem", ["wine", TEACHER], ids=["classes", "targets"])
def test_is_backpropagation_of_squares(problem: Any) -> None:
    """Through layers of every kind, as LeCun et al. 1998 have it: unit by unit and sample by sample."""
    made, _, _ = differentiated(layers(*DROPPING), problem)
    found = bbprop(made)
    columns = dict(zip([place.layer for place in made.measured], made.columns, strict=True))
    for row in range(2):
        expected = np.zeros(found.shape[1])
        for b in range(6):
            z = linears(made)[-1].output[row, b].numpy()
            if problem == "wine":
                p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
                above = p * (1 - p) / 6
            else:
                above = np.full(len(z), 2 / len(z) / 6)
            for layer in reversed(made.layers):
                if isinstance(layer, Linear):
                    weight, into = layer.weight[row].numpy(), layer.input[row, b].numpy()
                    own = [above[o] * into[i] ** 2 for o in range(len(above)) for i in range(len(into))]
                    own += [*above] if layer.bias is not None else []
                    expected[columns[layer]] += own
                    above = np.array(
                        [sum(above[o] * weight[o, i] ** 2 for o in range(len(above))) for i in range(len(into))]
                    )
                elif isinstance(layer, Dropout):
                    assert layer.mask is not None
                    above = above * layer.mask[row, b].numpy() ** 2
                else:
                    assert isinstance(layer, Activation)
                    into_it = layer.input[row, b].clone().requires_grad_()
                    with torch.enable_grad():
                        (slope,) = torch.autograd.grad(layer.non_linearity.value(into_it).sum(), into_it)
                    above = above * slope.numpy() ** 2
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-9, atol=1e-15)


def test_confident_outputs_still_have_curvature() -> None:
    """A softmax that rounds to one in float32 has p(1 − p) of the others' sum."""
    output = torch.tensor([[[0.0, 25.0, -1.0]]])
    p = output.double().softmax(2)
    made = program(shard(ALONE, "vsgd_l", precision="float32"))
    torch.testing.assert_close(made.loss.curvature(output).double(), p * (1 - p), rtol=1e-5, atol=0)


def test_rules_are_told_samples_squares_and_curvature() -> None:
    """Of the same batch, with the gradient left as it was."""
    made, _, _ = differentiated(layers(*DROPPING), "wine")
    before = made.gradient.clone()
    given = look_at_curvature(made)
    assert given.curvature is not None and given.sample_squares is not None
    assert torch.equal(given.mean, before) and torch.equal(given.curvature, bbprop(made))
    assert (given.sample_squares >= given.mean.square() * (1 - 1e-12)).all()


@pytest.mark.parametrize("kind", ["vsgd_l", "vsgd_b", "vsgd_g"])
def test_learns_digits_without_a_rate(kind: str) -> None:
    """At the defaults, in float32, from two seeds."""
    given = shard(
        mlp(depth=1, width=32), kind, problem="digits", precision="float32", steps=300, seeds=(0, 1), batch_size=64
    )
    curves = rows(train(given.model_copy(update={"recorded": [0, 300]})).curves)
    for trial in (0, 1):
        assert curves[trial, 300]["validation_loss"] < 0.5 < 2 < curves[trial, 0]["validation_loss"]


@pytest.mark.parametrize(
    ("network", "code"),
    [
        ({"kind": "mlp", "depth": 2, "width": 8, "normalization": {"kind": "layer", "affine": False}}, "no_curvature"),
        ({"kind": "mlp", "depth": 2, "width": 8, "shortcut": "residual"}, "no_curvature"),
        ({"kind": "mlp", "depth": 2, "width": 8, "normalization": "batch"}, "no_sample_gradients"),
    ],
)
def test_is_refused_at_the_door(network: dict[str, Any], code: str) -> None:
    """Where curvature does not pass, with the pointer and what to take instead; a dense network is welcome."""
    body = {"problem": "digits", "optimizers": ["sgd", "vsgd_l"], "network": network}
    (found,) = check(TypeAdapter(ComparisonSpec).validate_python(body), Limits())
    assert (found.pointer, found.code) == ("/optimizers/1", code)
    dense = body | {"network": {"kind": "mlp", "depth": 2, "width": 8}}
    assert check(TypeAdapter(ComparisonSpec).validate_python(dense), Limits()) == []
