"""Look-ahead: every k steps θ goes back to a share of the way that it came since.

    φ = θ at the start; after every k-th step: φ ← φ + alpha·(θ − φ); θ ← φ

Source: Zhang et al. 2019 (arXiv:1907.08610), algorithm 1; step for step pytorch_optimizer's Lookahead(pullback_momentum='none'). What the
rule remembers stays as it is. Losses are measured at θ, as everywhere.

alpha = 1 leaves the rule as it is, k = 1 multiplies every step by alpha. Failure modes: a remembered velocity does not know that θ was
taken back; rules that keep an average or a place of their own (schedule-free, Prodigy) measure from where they think θ is.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State

SLOW, COUNT = "lookahead.slow", "lookahead.step"


def lookahead(rule: Rule, steps: int) -> Rule:
    def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, **flags: Any) -> State:
        own = {SLOW: theta.clone(), COUNT: torch.zeros_like(hyper["lookahead.k"])}
        return rule.initial_state(theta, hyper, layout, **flags) | own

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        rule.update(theta, gradients, state, hyper, **flags)
        due = (state[COUNT].add_(1) % hyper["lookahead.k"] == 0).double()  # 1 or 0: a product costs less than a choice
        slow = state[SLOW].lerp_(theta, (due * hyper["lookahead.alpha"]).to(theta.dtype))
        theta.lerp_(slow, due.to(theta.dtype))

    return replace(rule, initial_state=initial_state, update=update)
