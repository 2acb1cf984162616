"""RMSprop: the gradient over a running root mean square of itself.

    g ← g + weight_decay·θ                              (coupled)
    v ← alpha·v + (1 − alpha)·g²
    d = √v + eps          centered: m ← alpha·m + (1 − alpha)·g,  d = √(v − m²) + eps
    θ ← θ − lr·g/d        with momentum: b ← momentum·b + g/d,  θ ← θ − lr·b

Source: Hinton, Neural Networks for Machine Learning, lecture 6e; centring from Graves, arXiv:1308.0850; step for step
torch.optim.RMSprop, except that v − m² is kept from turning negative by rounding, where torch answers NaN, and that eps is at
least the smallest normal number, where eps = 0 in torch makes a zero gradient NaN.

Fixed points: g = 0. A zero gradient moves nothing (momentum runs out).
Failure modes: v starts at 0 and is not corrected, so the first step is lr/√(1 − alpha), ten times lr at the default. The
steps do not shrink near an optimum: θ keeps wandering by about lr. Once √v < eps (|g| below 1e-8 at the default) the rule is
SGD with learning rate lr/eps. In float32 g² underflows below |g| = 1e-22: g/d grows up to g/eps, which a tiny eps makes huge.
Centered: a steady gradient has no variance, and its step grows to lr·g/eps.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, centered: bool = False) -> State:
    state = {"square_avg": torch.zeros_like(theta)}
    if centered:
        state["grad_avg"] = torch.zeros_like(theta)
    if "momentum" in hyper:
        state["momentum_buffer"] = torch.zeros_like(theta)
    return state


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, centered: bool = False) -> None:
    gradient = decayed(theta, gradients.mean, hyper)
    fresh = (1 - hyper["alpha"]).to(theta.dtype)
    scratch = torch.square(gradient)
    state["square_avg"].lerp_(scratch, fresh)
    if centered:
        state["grad_avg"].lerp_(gradient, fresh)
    spread(state, out=scratch).add_(nonzero(hyper["eps"], theta.dtype))
    direction = torch.div(gradient, scratch, out=scratch)
    if "momentum" in hyper:
        direction = state["momentum_buffer"].mul_(hyper["momentum"].to(theta.dtype)).add_(direction)
    theta.addcmul_(direction, -hyper["lr"].to(theta.dtype))


def spread(state: State, out: Tensor | None = None) -> Tensor:
    """√v, or √(v − m²) where the mean is kept: the denominator before eps, [R, P]."""
    if "grad_avg" not in state:
        return torch.sqrt(state["square_avg"], out=out)
    mean = state["grad_avg"]
    return torch.addcmul(state["square_avg"], mean, mean, value=-1, out=out).clamp_min_(0).sqrt_()


def eps_dominated(state: State, hyper: Hyper, layout: Layout) -> Tensor:
    root = spread(state)
    return root < hyper["eps"].to(root.dtype)


RULE = Rule(initial_state, update, eps_dominated)
