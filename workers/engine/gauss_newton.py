"""Trace of each linear layer's block of the Gauss-Newton matrix of the mean loss, exactly, from Jacobians. T trials, N samples, K outputs.

    tr G_l = 1/N Σ_b tr(Jᵀ H J)·(‖x_b‖² + 1)        the 1 with a bias; J = ∂output/∂z_l of sample b, H = ∂²loss_b/∂output²
    cross entropy        tr(Jᵀ H J) = Σ_o Var_p J_·o over the softmax's p, since H = diag p − p pᵀ
    mean squared error   tr(Jᵀ H J) = 2/K ‖J‖²_F

since z = W x + b makes the block of a sample JᵀHJ ⊗ x̃ x̃ᵀ (Botev et al. 2017, "Practical Gauss-Newton optimisation").
No draws are made.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from workers.engine.jacobian import to_output
from workers.engine.network import Linear
from workers.engine.program import Program


def _of_classes(jacobian: Tensor, output: Tensor) -> Tensor:
    """As a variance, which does not cancel where one class has nearly all of the probability."""
    p = output.softmax(2).unsqueeze(3)
    centred = jacobian - (p * jacobian).sum(2, keepdim=True)
    return (p * centred.square()).sum((2, 3))


def _of_squares(jacobian: Tensor, output: Tensor) -> Tensor:
    return jacobian.square().sum((2, 3)) * (2 / output.shape[2])


INNER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _of_classes,
    "mean_squared_error": _of_squares,
}
"""(J, output) -> tr(JᵀHJ) of each sample [T, N]."""


def traces(program: Program, samples: int) -> Tensor:
    """float64 [L, T] of the linear layers from the bottom up, over the first samples of the batch that was passed forward last."""
    inner = INNER[program.shard.problem.loss]
    output = program.measured[-1].layer.output[:, :samples].double()
    linears = [layer for layer in program.layers if isinstance(layer, Linear)]
    found: list[Tensor] = []
    for layer, jacobian in zip(reversed(linears), to_output(program, samples), strict=True):
        into = layer.input[:, :samples].double().square().sum(2) + (layer.bias is not None)
        found.append((inner(jacobian.double(), output) * into).mean(1))
    return torch.stack(found[::-1])
