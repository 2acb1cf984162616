"""Normalised gradient descent, layer by layer: every layer moves by the same length, whatever the size of its gradient.

    m ← momentum·m + (1 − momentum)·g
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ_l ← θ_l − lr·m_l/‖m_l‖                            for each layer l, its weights and bias as one vector

Source: Nesterov 1984; Hazan, Levy & Shalev-Shwartz 2015 (arXiv:1507.02030); by layer Yu et al. 2017 (arXiv:1707.04822); with
momentum before the norm Cutkosky & Mehta 2020 (arXiv:2002.03305), algorithm 1.

Fixed points: m_l = 0. A layer whose gradient is exactly zero stays. No eps: the steps do not depend on the gradient's size down
to the smallest normal number, and the norm is taken of numbers in range.
Failure modes: the step never shrinks by itself: θ_l circles the optimum at a distance of about lr. Within a layer the relation of
sizes stays: a weight whose gradient is small beside its neighbours' hardly moves. Layers of any size move by the same length.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.norms import in_range, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, at, shrink


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"exp_avg": torch.zeros_like(theta)} if "momentum" in hyper else {}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    direction = gradients.mean
    if "momentum" in hyper:
        direction = state["exp_avg"].lerp_(direction, (1 - hyper["momentum"]).to(theta.dtype))
    shrink(theta, hyper)
    for layer in gradients.layout.columns:
        own = direction[:, layer]
        unit, length = in_range(own)
        theta[:, layer].addcmul_(unit, -ratio(at(hyper["lr"], layer), length, 0.0).to(theta.dtype))


RULE = Rule(initial_state, update, degrees={"exp_avg": 1})
