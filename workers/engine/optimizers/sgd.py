"""Stochastic gradient descent, with momentum, dampening and Nesterov's look-ahead.

    g ← g + weight_decay·θ                              (coupled)
    b ← momentum·b + (1 − dampening)·g                  (the first time b ← g)
    θ ← θ − lr·b          nesterov: θ ← θ − lr·(g + momentum·b)

Source: Robbins & Monro 1951; Polyak 1964; Sutskever et al. 2013; step for step torch.optim.SGD, which ignores the dampening
where the momentum is 0.

Fixed points: g = 0 and b = 0 (with decay: g = −weight_decay·θ). A zero gradient moves θ only by the momentum left in b.
Failure modes: the step is proportional to the gradient, so layers whose gradient vanishes stand still at any lr that the
others survive; it diverges where lr·curvature > 2(1 + momentum).
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, nesterov: bool = False) -> State:
    if "momentum" not in hyper:
        return {}
    return {"momentum_buffer": torch.zeros_like(theta), "step": torch.zeros_like(hyper["lr"])}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, nesterov: bool = False) -> None:
    direction = decayed(theta, gradients.mean, hyper)
    if "momentum" in hyper:
        momentum = hyper["momentum"].to(theta.dtype)
        undamped = (state["step"] == 0) | (hyper["momentum"] == 0)
        taken = torch.where(undamped, 1.0, 1 - hyper["dampening"]).to(theta.dtype)
        velocity = state["momentum_buffer"].mul_(momentum).addcmul_(direction, taken)
        direction = torch.addcmul(direction, velocity, momentum) if nesterov else velocity
        state["step"].add_(1)
    theta.addcmul_(direction, -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update)
