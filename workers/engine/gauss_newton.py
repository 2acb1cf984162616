"""Curvature of each linear layer: its block of the Gauss-Newton matrix of the mean loss, exactly, from Jacobians.

T trials, N samples, K outputs, O/I outputs/inputs of a layer. G_l = 1/N Σ_b JᵀHJ ⊗ x̃x̃ᵀ with J = ∂output/∂z_l, H = ∂²loss_b/∂output² and
x̃ = (x, 1) (Botev et al. 2017, "Practical Gauss-Newton optimisation"), so with H = SSᵀ and V = SᵀJ, [T, N, K, O],

    cross entropy        S = diag √p − p √pᵀ, since SSᵀ = diag p − p pᵀ
    mean squared error   S = √(2/K)
    trace                1/N Σ_b ‖V_b‖²_F ‖x̃_b‖²
    diagonal             1/N Σ_b Σ_k V_bko² x̃_bi²
    largest eigenvalue   that of the NK × NK matrix of (V_bk · V_b′k′)(x̃_b · x̃_b′)/N, whose other eigenvalues are G's, too
                         (Dangel et al. 2022, "ViViT")

No draws are made, and G itself is never in memory.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from workers.engine.jacobian import largest_eigenvalue, to_output
from workers.engine.program import Program


def _of_classes(jacobian: Tensor, output: Tensor) -> Tensor:
    root: Tensor = output.softmax(2).sqrt().unsqueeze(3)
    return root * (jacobian - (root * root * jacobian).sum(2, keepdim=True))


def _of_squares(jacobian: Tensor, output: Tensor) -> Tensor:
    return jacobian * math.sqrt(2 / output.shape[2])


INNER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _of_classes,
    "mean_squared_error": _of_squares,
}
"""(J, output) -> SᵀJ. With classes (SᵀJ)_k = √p_k (J_k − Σ p J): a difference that does not cancel where one class has nearly all of p."""


class Block(NamedTuple):
    """Of one layer."""

    v: Tensor
    """[T, N, K, O]"""
    inputs: Tensor
    """x̃, [T, N, I + 1] or [T, N, I]."""

    def trace(self) -> Tensor:
        """[T]"""
        return (self.v.square().sum((2, 3)) * self.inputs.square().sum(2)).mean(1)

    def diagonal(self) -> Tensor:
        """[T, O, I + 1]"""
        return torch.bmm(self.v.square().sum(2).mT, self.inputs.square()) / self.v.shape[1]

    def largest(self) -> Tensor:
        """[T]"""
        _, samples, outputs, _ = self.v.shape
        rows = self.v.flatten(1, 2)
        near = torch.bmm(self.inputs, self.inputs.mT).repeat_interleave(outputs, 1).repeat_interleave(outputs, 2)
        gram = torch.bmm(rows, rows.mT) * near / samples
        return largest_eigenvalue(lambda v: torch.bmm(gram, v[..., None])[..., 0], rows[..., 0])


def blocks(program: Program, samples: int) -> Iterator[Block]:
    """Of the linear layers from the top down, over the first samples of the batch that was passed forward last."""
    inner = INNER[program.shard.problem.loss]
    output = program.measured[-1].layer.output[:, :samples].double()
    for layer, jacobian, _ in to_output(program, samples):
        x = layer.input[:, :samples].double()
        if layer.bias is not None:
            x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2)
        yield Block(inner(jacobian, output), x)
