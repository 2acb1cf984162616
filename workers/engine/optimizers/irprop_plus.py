"""iRprop+: Rprop whose last step is taken back only where the sign changes and the loss has risen.

    s = sign(g)·sign(g_prev)
    s > 0: Δ ← min(eta_plus·Δ, step_max)     θ ← θ − sign(g)·Δ                g_prev ← g
    s = 0: Δ stays                           θ ← θ − sign(g)·Δ                g_prev ← g
    s < 0: θ ← θ + sign(g_prev)·Δ, the last move undone, if L > L_prev;  Δ ← max(eta_minus·Δ, step_min);  g_prev ← 0

Δ₀ = lr; L is the loss of the batch that g is of. Source: Igel & Hüsken 2000, 2003 (iRprop+). The last move need not be remembered: its
size is Δ before it is shrunk.

Fixed points: g = 0. A zero gradient moves nothing and keeps Δ.
Failure modes: those of iRprop−. The losses compared are those of two batches: on mini-batches it is chance which is larger. A change of
sign that rounding makes at the bottom is undone or not by the loss's own rounding. A NaN gradient counts as zero, a NaN loss as none
that rose.
"""

import torch
from torch import Tensor

from workers.engine.optimizers import rprop
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return rprop.initial_state(theta, hyper, layout) | {"loss": torch.full_like(hyper["lr"], torch.inf)}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    sign = gradients.mean.sign()
    risen = (gradients.loss > state["loss"]).to(theta.dtype)
    last_move = torch.mul(state["prev_sign"], state["step_size"]).mul_(risen)
    turned = rprop.resize(sign, state, hyper)
    theta.addcmul_(last_move, turned)
    torch.addcmul(sign, sign, turned, value=-1, out=state["prev_sign"])
    theta.addcmul_(state["prev_sign"], state["step_size"], value=-1)
    state["loss"].copy_(gradients.loss)


RULE = Rule(initial_state, update, degrees={})
