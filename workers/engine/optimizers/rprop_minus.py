"""Rprop−: iRprop− that does not rest when the sign changes: it turns round at once, with the shrunk step.

    s = sign(g)·sign(g_prev)
    s > 0: Δ ← min(eta_plus·Δ, step_max);  s < 0: Δ ← max(eta_minus·Δ, step_min);  s = 0: Δ stays
    θ ← θ − sign(g)·Δ      g_prev ← g

Δ₀ = lr. Source: Riedmiller 1994; named Rprop− (without weight-backtracking) in Igel & Hüsken 2000.

Fixed points and failure modes: those of iRprop−. After a change of sign the next step compares with that change, so that Δ
is shrunk twice where θ swings across a narrow valley. A NaN gradient counts as zero.
"""

from torch import Tensor

from workers.engine.optimizers.rprop import initial_state, resize
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    sign = gradients.mean.sign()
    resize(sign, state, hyper)
    state["prev_sign"].copy_(sign)
    theta.addcmul_(sign, state["step_size"], value=-1)


RULE = Rule(initial_state, update, degrees={})
