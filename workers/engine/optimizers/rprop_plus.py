"""Rprop+: Rprop with weight-backtracking: where the sign changes, the step that led there is taken back.

    s = sign(g)·sign(g_prev)
    s > 0: Δ ← min(eta_plus·Δ, step_max)     θ ← θ − sign(g)·Δ                g_prev ← g
    s = 0: Δ stays                           θ ← θ − sign(g)·Δ                g_prev ← g
    s < 0: θ ← θ + sign(g_prev)·Δ, the last move undone;  Δ ← max(eta_minus·Δ, step_min);  g_prev ← 0

Δ₀ = lr. Source: Riedmiller & Braun 1993; Igel & Hüsken 2000 (Rprop+). The last move need not be remembered: its size is Δ before it
is shrunk.

Fixed points: g = 0. A zero gradient moves nothing and keeps Δ.
Failure modes: those of iRprop−. A step is taken back even where it lowered the loss; a change of sign that comes from another
weight's move undoes a good one. A NaN gradient counts as zero.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rprop import initial_state, resize
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    sign = gradients.mean.sign()
    last_move = torch.mul(state["prev_sign"], state["step_size"])
    turned = resize(sign, state, hyper)
    theta.addcmul_(last_move, turned)
    torch.addcmul(sign, sign, turned, value=-1, out=state["prev_sign"])
    theta.addcmul_(state["prev_sign"], state["step_size"], value=-1)


RULE = Rule(initial_state, update, degrees={})
