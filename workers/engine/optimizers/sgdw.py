"""SGD with momentum and decoupled weight decay.

    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    b ← momentum·b + g
    θ ← θ − lr·b

Source: Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 1, with lr in the decay and outside the velocity, as torch has it
(the same for a constant lr).

Fixed points: g = 0, b = 0 and θ = 0; a zero gradient leaves the decay and the momentum left in b.
Failure modes: those of SGD. The decay does not pass through the momentum, so its pull is independent of it, but lr scales both.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"momentum_buffer": torch.zeros_like(theta)} if "momentum" in hyper else {}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    shrink(theta, hyper)
    direction = gradients.mean
    if "momentum" in hyper:
        direction = state["momentum_buffer"].mul_(hyper["momentum"].to(theta.dtype)).add_(direction)
    theta.addcmul_(direction, -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update)
