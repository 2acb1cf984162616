"""Shampoo: a weight's gradient between inverse roots of the sums of its own outer products, GGᵀ and GᵀG.

For a weight W [O, I] with gradient G, sides of up to 256 only:

    L ← L + G·Gᵀ,  R ← R + Gᵀ·G
    U = L^(−1/4)·G·R^(−1/4);  L^(−1/2)·G or G·R^(−1/2) where the other side is larger
    vectors, and weights larger on both sides:  v ← v + g²,  U = g/√v
    b ← momentum·b + U
    θ ← (1 − lr·weight_decay)·θ − lr·b                              (decoupled)

Roots are of L + eps·‖L‖_F·I, by Newton's coupled iteration (roots.py).

Source: Gupta, Koren & Singer 2018 (arXiv:1802.09568), algorithm 1, whose L and R start at eps·I: then eps decides where gradients are
small. The ridge in proportion is that of Anil et al. 2020 (arXiv:2002.09018), and makes the steps independent of the gradient's size.
Vectors are Adagrad there, too, and large sides are left out.

Fixed points: g = 0. A zero gradient moves nothing but what is left in b, and the decay.
Failure modes: L and R only grow, so steps shrink as 1/√t, as Adagrad's do; after large gradients nothing moves. Without momentum and at
the first step all singular values of a weight's step are near one, those of noise among them. GGᵀ underflows in float32 below |G| = 1e-19.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.roots import inverse_root
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, shrink
from workers.engine.optimizers.sides import of_weights, others


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    state = {"sum": torch.zeros_like(theta)}
    if "momentum" in hyper:
        state["momentum_buffer"] = torch.zeros_like(theta)
    for _, shape, name, small in of_weights(layout):
        for side, (size, kept) in enumerate(zip(shape, small, strict=True)):
            if kept:
                state[f"{name}.{side}"] = theta.new_zeros(len(theta), size, size)
    return state


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient, direction = theta.dtype, gradients.mean, torch.empty_like(theta)
    ridge = hyper["eps"].to(dtype)[:, :, None]
    for columns in others(gradients.layout):
        own = gradient[:, columns]
        square = state["sum"][:, columns].addcmul_(own, own)
        direction[:, columns] = own * square.clamp_min(torch.finfo(dtype).tiny).rsqrt()
    for columns, shape, name, small in of_weights(gradients.layout):
        own = gradient[:, columns].unflatten(1, shape)
        move, root = own, 2 * sum(small)
        if small[0]:
            move = inverse_root(state[f"{name}.0"].baddbmm_(own, own.mT), root, ridge) @ move
        if small[1]:
            move = move @ inverse_root(state[f"{name}.1"].baddbmm_(own.mT, own), root, ridge)
        direction[:, columns] = move.flatten(1)
    shrink(theta, hyper)
    if "momentum" in hyper:
        direction = state["momentum_buffer"].mul_(hyper["momentum"].to(dtype)).add_(direction)
    theta.addcmul_(direction, -hyper["lr"].to(dtype))


RULE = Rule(initial_state, update)
