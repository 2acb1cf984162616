"""Lion: the sign of a mean that leans on the newest gradient, while a longer mean is remembered.

    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ ← θ − lr·sign(beta1·m + (1 − beta1)·g)
    m ← beta2·m + (1 − beta2)·g

Source: Chen et al. 2023 (arXiv:2302.06675), program 1.

Fixed points: m = 0 and g = 0. The size of the gradient does not matter above the smallest normal number.
Failure modes: those of Signum: the step never shrinks by itself, θ circles the optimum at a distance of about lr, and a gradient that
becomes exactly zero leaves m's sign, so θ keeps moving by lr until m is zero. A NaN gradient makes m NaN for good, whose sign is 0.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"exp_avg": torch.zeros_like(theta)}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    shrink(theta, hyper)
    direction = torch.lerp(state["exp_avg"], gradients.mean, (1 - hyper["beta1"]).to(dtype)).sign_()
    theta.addcmul_(direction, -hyper["lr"].to(dtype))
    state["exp_avg"].lerp_(gradients.mean, (1 - hyper["beta2"]).to(dtype))


RULE = Rule(initial_state, update, degrees={"exp_avg": 1})
