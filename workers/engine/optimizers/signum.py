"""Signum: every weight moves by lr against the sign of a running mean of its gradient.

    m ← momentum·m + (1 − momentum)·g
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ ← θ − lr·sign(m)

Source: Bernstein et al. 2018 (arXiv:1802.04434), algorithm 2.

Fixed points: m = 0, so g = 0 for ever. The size of the gradient does not matter above the smallest normal number.
Failure modes: those of signSGD with the noise averaged first; it overshoots a turn of the gradient by about
1/(1 − momentum) steps. When a gradient becomes exactly zero, m only decays, its sign stays and θ keeps moving by lr, until m
is zero; in floating point a subnormal m may never be. A NaN gradient makes m NaN for good, whose sign is 0.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"exp_avg": torch.zeros_like(theta)} if "momentum" in hyper else {}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    direction = gradients.mean
    if "momentum" in hyper:
        direction = state["exp_avg"].lerp_(direction, (1 - hyper["momentum"]).to(theta.dtype))
    shrink(theta, hyper)
    theta.addcmul_(direction.sign(), -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update, degrees={"exp_avg": 1})
