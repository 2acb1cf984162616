"""iRprop−: a step size Δ for each weight, grown while the gradient's sign holds and shrunk when it changes.

    s = sign(g)·sign(g_prev)
    s > 0: Δ ← min(eta_plus·Δ, step_max)     θ ← θ − sign(g)·Δ     g_prev ← g
    s = 0: Δ stays                           θ ← θ − sign(g)·Δ     g_prev ← g
    s < 0: Δ ← max(eta_minus·Δ, step_min)    θ stays               g_prev ← 0

Δ₀ = lr. Source: Riedmiller & Braun 1993; Igel & Hüsken 2000 (iRprop−); step for step torch.optim.Rprop, except that torch
takes the sign of g·g_prev, which underflows in float32 below |g| = 1e-23 and freezes Δ: here signs are multiplied.

Fixed points: g = 0. A zero gradient moves nothing and keeps Δ. Only signs count: the steps are the same for gradients of any
size above the smallest subnormal number.
Failure modes: a full-batch method. Under mini-batch noise the signs are those of the noise: Δ shrinks to step_min where
the signal is weak, and nine gradients of +0.01 outweigh one of −0.09. A NaN gradient counts as zero.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "prev_sign": torch.zeros_like(theta),
        "step_size": hyper["lr"].to(theta.dtype).expand_as(theta).clone(),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    sign = gradients.mean.sign()
    turned = resize(sign, state, hyper)
    torch.addcmul(sign, sign, turned, value=-1, out=state["prev_sign"])
    theta.addcmul_(state["prev_sign"], state["step_size"], value=-1)


def resize(sign: Tensor, state: State, hyper: Hyper) -> Tensor:
    """Grows and shrinks Δ in place. Returns [R, P]: 1 where the sign has changed, else 0."""
    dtype = sign.dtype
    agreement = state["prev_sign"] * sign
    # Choosing by products with 0 and 1: torch.where branches on every element, which costs thirty passes over memory.
    held = agreement.relu()
    turned = torch.sub(held, agreement)
    factor = agreement.abs_().neg_().add_(1)
    factor.addcmul_(held, hyper["eta_plus"].to(dtype)).addcmul_(turned, hyper["eta_minus"].to(dtype))
    step_size = state["step_size"].mul_(factor)
    torch.maximum(step_size, hyper["step_min"].to(dtype), out=step_size)
    torch.minimum(step_size, hyper["step_max"].to(dtype), out=step_size)
    return turned


RULE = Rule(initial_state, update, degrees={})
