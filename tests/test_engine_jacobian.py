"""The Jacobian passed backwards, against torch.func.jacrev in float64 through the same network as a torch module."""

from typing import Any

import pytest
import torch
from engine_samples import TEACHER, layers, program, shard
from reference.networks import LOSSES, flat, sequential
from torch import nn

from workers.engine.gauss_newton import blocks
from workers.engine.jacobian import spectrum, to_output
from workers.engine.train import differentiate

SAMPLES = 3


@pytest.mark.parametrize("problem", ["wine", TEACHER], ids=["classes", "targets"])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "gaussian"])
def test_is_what_autograd_finds(activation: str, problem: Any) -> None:
    """Elementwise, from every linear layer's output to the network's, and singular values by numpy's norms of it."""
    stack = [
        part
        for width in (7, 4)
        for part in ({"kind": "linear", "out_features": width}, {"kind": "activation", "activation": activation})
    ]
    made = program(shard(layers(*stack), "sgd", problem=problem, seeds=(0, 1), batch_size=6))
    x, y = made.batches.at(0)
    differentiate(made, x, y)
    found = [jacobian for _, jacobian, _ in to_output(made, SAMPLES)]
    for row in range(2):
        modules = list(sequential(made, row))
        places = [place for place, one in enumerate(modules) if isinstance(one, nn.Linear)]
        assert len(places) == len(found) == 3
        for place, ours in zip(reversed(places), found, strict=True):
            into, rest = nn.Sequential(*modules[: place + 1]), nn.Sequential(*modules[place + 1 :])
            largest, square = [], []
            for b in range(SAMPLES):
                expected = torch.func.jacrev(rest)(into(x[row, b]).detach()).detach()
                torch.testing.assert_close(ours[row, b], expected, rtol=1e-10, atol=1e-14)
                largest.append(torch.linalg.matrix_norm(expected, 2))
                square.append(expected.square().sum() / len(expected))
            values = spectrum(ours)
            torch.testing.assert_close(values.largest[row], torch.stack(largest).mean(), rtol=1e-10, atol=0)
            torch.testing.assert_close(values.mean_square[row], torch.stack(square).mean(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("problem", ["wine", TEACHER], ids=["classes", "targets"])
def test_traces_are_those_of_the_gauss_newton_blocks(problem: Any) -> None:
    """JᵀHJ by autograd, with respect to each layer's own parameters, its diagonal summed."""
    hidden = ({"kind": "linear", "out_features": 5}, {"kind": "activation", "activation": "tanh"})
    made = program(shard(layers(*hidden, *hidden), "sgd", problem=problem, seeds=(0, 1), batch_size=6))
    x, y = made.batches.at(0)
    differentiate(made, x, y)
    found = [block.trace() for block in blocks(made, 6)][::-1]
    loss = LOSSES[made.shard.problem.loss]()
    for row in range(2):
        twin = sequential(made, row)
        own = [list(one.parameters()) for one in twin if isinstance(one, nn.Linear)]
        assert len(own) == len(found) == 3
        for place, parameters in enumerate(own):
            expected = torch.zeros((), dtype=torch.float64)
            for b in range(6):
                output, target = twin(x[row, b : b + 1]), y[row, b : b + 1]
                inner = torch.autograd.functional.hessian(lambda z, target=target: loss(z, target), output.detach())[
                    0, :, 0
                ]
                jacobian = torch.stack(
                    [flat(list(torch.autograd.grad(one, parameters, retain_graph=True))) for one in output[0]]
                )
                expected += (jacobian.T @ inner @ jacobian).trace() / 6
            torch.testing.assert_close(found[place][row], expected, rtol=1e-9, atol=0)
