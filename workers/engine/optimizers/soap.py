"""SOAP: Adam in the eigenbasis of Shampoo's matrices.

For a weight W [O, I] with gradient G, sides of up to 256 only; Q_L, Q_R start as I:

    m ← β₁·m + (1 − β₁)·g
    G′ = Q_Lᵀ·G·Q_R,  M′ = Q_Lᵀ·m·Q_R                             vectors and larger sides: Q = I
    v ← β₂·v + (1 − β₂)·G′²
    N′ = M′/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps)
    θ ← (1 − lr·weight_decay)·θ − lr·Q_L·N′·Q_Rᵀ                    (decoupled)
    L ← β₂·L + (1 − β₂)·G·Gᵀ,  R ← β₂·R + (1 − β₂)·Gᵀ·G
    Q_L ← qr((L + 1e-6·‖L‖_F·I)·Q_L),  Q_R likewise               one step of orthogonal iteration

Source: Vyas et al. 2024 (arXiv:2409.11321), algorithm 3, with the bases renewed in every step (frequency 1, its best). Deviations: the
first bases are I, where the authors' code takes eigenvectors and leaves the first step out, so the first step is Adam's; the ridge changes
no eigenvector, and keeps the basis where it was in directions that no gradient has had; columns of Q keep their signs.

Fixed points: m = 0. A zero gradient moves nothing but what is left in m, and the decay.
Failure modes: Adam's, in another basis: where √v < eps the step shrinks with the gradient. v is not rotated when the basis turns, so
while eigenvalues lie close together and the basis keeps turning, v belongs to no direction. GGᵀ underflows in float32 below |G| = 1e-19.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.adam import eps_dominated
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero, shrink
from workers.engine.optimizers.sides import of_weights

RIDGE = 1e-6


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    state = {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }
    for _, shape, name, small in of_weights(layout):
        for side, (size, kept) in enumerate(zip(shape, small, strict=True)):
            if kept:
                one = torch.eye(size, dtype=theta.dtype, device=theta.device)
                state[f"{name}.basis.{side}"] = one.repeat(len(theta), 1, 1)
                state[f"{name}.{side}"] = theta.new_zeros(len(theta), size, size)
    return state


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, layout, gradient = theta.dtype, gradients.layout, gradients.mean
    state["step"].add_(1)
    fresh = (1 - hyper["beta2"]).to(dtype)
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    own = turned(gradient, state, layout, into=True)
    square = state["exp_avg_sq"].mul_(hyper["beta2"].to(dtype)).addcmul_(own * fresh, own)
    first, second = (1 - hyper[beta] ** state["step"] for beta in ("beta1", "beta2"))
    root = square.sqrt().mul_(second.rsqrt().to(dtype)).add_(nonzero(hyper["eps"], dtype))
    move = turned(turned(mean, state, layout, into=True).div_(root), state, layout, into=False)
    shrink(theta, hyper)
    theta.addcmul_(move, -(hyper["lr"] / first).to(dtype))
    for columns, shape, name, small in of_weights(layout):
        weight = gradient[:, columns].unflatten(1, shape)
        for side, matrix in enumerate((weight, weight.mT)):
            if small[side]:
                renew(state[f"{name}.{side}"], state[f"{name}.basis.{side}"], matrix, fresh[:, :, None])


def turned(values: Tensor, state: State, layout: Layout, into: bool) -> Tensor:
    """[R, P], each weight in its basis, or out of it; a tensor of its own."""
    found = values.clone()
    for columns, shape, name, small in of_weights(layout):
        matrix = values[:, columns].unflatten(1, shape)
        if small[0]:
            left = state[f"{name}.basis.0"]
            matrix = (left.mT if into else left) @ matrix
        if small[1]:
            right = state[f"{name}.basis.1"]
            matrix = matrix @ (right if into else right.mT)
        found[:, columns] = matrix.flatten(1)
    return found


def renew(products: Tensor, basis: Tensor, matrix: Tensor, fresh: Tensor) -> None:
    """The running mean of G·Gᵀ, and its basis; where it is still zero the basis stays."""
    products.lerp_(matrix @ matrix.mT, fresh)
    largest = products.abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(products.dtype).tiny)
    unit = products / largest
    ridge = RIDGE * torch.linalg.vector_norm(unit, dim=(1, 2), keepdim=True).clamp_min(1)
    q, r = torch.linalg.qr(unit @ basis + ridge * basis)
    signs = torch.copysign(torch.ones_like(ridge[:, 0]), r.diagonal(dim1=1, dim2=2))
    basis.copy_(q * signs[:, None, :])


RULE = Rule(initial_state, update, eps_dominated)  # of v in the turned basis
