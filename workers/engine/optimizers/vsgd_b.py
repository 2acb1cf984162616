"""vSGD-b: every layer its own learning rate, from the gradient's signal, its noise and its curvature; none to tune.

As vsgd_l (n, g, q and h are told there), with the sums of a layer b in place of single weights:

    ḡ, l_b, h̄ ← running means of g, Σ_b q, max(h, eps) with weight 1/τ_b
    s_b = n·‖ḡ_b‖²/(l_b + (n − 1)·‖ḡ_b‖²)
    θ_b ← θ_b − s_b/max_b(h̄)·g_b
    τ_b ← (1 − s_b)·τ_b + 1
    The first slow_start steps only average and move nothing; then l and h̄ are multiplied by c.

Source: Schaul, Zhang & LeCun 2013 (arXiv:1206.1106), section 4.1, "local-global" rates by block; mini-batches and slow start as in vsgd_l.

Fixed points: g = 0. A layer whose gradient is zero stays.
Failure modes: the largest curvature of a layer decides for all of it: one steep weight slows the others. l_b is made of squares, which
underflow in float32 below |g| = 1e-19 (θ stands still) and overflow above 1e18. See vsgd_l for bbprop.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return of_blocks(len(layout.layers), theta, hyper)


def of_blocks(count: int, theta: Tensor, hyper: Hyper) -> State:
    return {
        "mean": torch.zeros_like(theta),
        "curvature": torch.zeros_like(theta),
        "square": theta.new_zeros(len(theta), count),
        "memory": theta.new_ones(len(theta), count),
        "step": torch.zeros_like(hyper["eps"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    state["step"].add_(1)
    descend(theta, gradients, state, hyper, gradients.layout.columns)


def descend(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, blocks: Sequence[slice]) -> None:
    """One learning rate for each block of columns, computed of numbers [R, 1] in float64."""
    assert gradients.sample_squares is not None and gradients.curvature is not None
    dtype, n, step = theta.dtype, gradients.batch_size, state["step"]
    eps = nonzero(hyper["eps"], dtype)
    caution = torch.where(step == hyper["slow_start"], hyper["c"], 1.0)
    moving, counting = step > hyper["slow_start"], (step != hyper["slow_start"]).to(dtype)
    for place, columns in enumerate(blocks):
        own = gradients.mean[:, columns]
        length, memory = (state[name][:, place : place + 1] for name in ("square", "memory"))
        fresh = memory.reciprocal()
        mean = state["mean"][:, columns].lerp_(own, fresh)
        curvature = state["curvature"][:, columns].lerp_(torch.maximum(gradients.curvature[:, columns], eps), fresh)
        curvature.mul_(caution.to(dtype))
        length.lerp_(gradients.sample_squares[:, columns].sum(1, keepdim=True), fresh).mul_(caution.to(dtype))
        signal, total = n * norm(mean).square(), length.double()
        signal = ratio(signal, total + signal * ((n - 1) / n), 0.0).clamp_max(1) * (moving & (total != 0))
        theta[:, columns].addcmul_(own, -(signal / curvature.amax(1, keepdim=True).double()).to(dtype))
        memory.mul_((1 - signal).to(dtype)).add_(counting)


RULE = Rule(initial_state, update)
