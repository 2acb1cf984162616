"""Tiger, "tight-fisted": Lion with one memory, which is Signum with its own memory and decay by default.

    m ← beta·m + (1 − beta)·g
    θ ← θ − lr·(sign(m) + weight_decay·θ)               (decoupled)

Source: J. Su, kexue.fm/archives/9512, 2023. The author's scaling of lr by the parameters' kind and size is left out, as in
pytorch_optimizer.

Fixed points and failure modes: Signum's.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"exp_avg": torch.zeros_like(theta)}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    mean = state["exp_avg"].lerp_(gradients.mean, (1 - hyper["beta"]).to(theta.dtype))
    shrink(theta, hyper)
    theta.addcmul_(mean.sign(), -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update, degrees={"exp_avg": 1})
