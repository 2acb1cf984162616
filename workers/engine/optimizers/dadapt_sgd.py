"""D-Adaptation for SGD: the learning rate is a lower bound on the distance D to the solution, found on the way; lr stays 1.

    g ← g + weight_decay·θ                              (coupled; not in G)
    λ = d·lr/G,  G the norm of the first gradient that is not zero
    n ← n + λ·⟨g, s⟩
    s ← s + λ·g
    d ← max(d, 2n/‖s‖)                                  d = d0 at the start
    θ ← momentum·θ + (1 − momentum)·(θ₀ − s)

Source: Defazio & Mishchenko 2023 (arXiv:2301.07733), algorithm 4; as the authors' code;
pytorch_optimizer's DAdaptSGD rounds G to float32.
Sums run over all parameters of a trial; n, d and G are float64.

Fixed points: g = 0 and θ = θ₀ − s. A gradient that has always been zero moves nothing.
Failure modes: one learning rate for all, in units of the first gradient: layers whose gradient vanishes stand still. d never falls, so
one overestimate stays; θ₀ − s is a sum from the start, so nothing is forgotten.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "start": theta.clone(),
        "s": torch.zeros_like(theta),
        "numerator": torch.zeros_like(hyper["lr"]),
        "first_norm": torch.zeros_like(hyper["lr"]),
        "d": hyper["d0"].clone(),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, first = theta.dtype, state["first_norm"]
    first.copy_(torch.where(first == 0, norm(gradients.mean), first))
    length = ratio(state["d"] * hyper["lr"], first, 0.0)
    scaled = decayed(theta, gradients.mean, hyper) * length.to(dtype)
    state["numerator"].add_((scaled * state["s"]).sum(1, keepdim=True).double())
    total = state["s"].add_(scaled)
    estimate = ratio(2 * state["numerator"], norm(total), 0.0)
    state["d"].copy_(torch.maximum(state["d"], estimate))
    target = state["start"] - total
    if "momentum" in hyper:
        theta.lerp_(target, (1 - hyper["momentum"]).to(dtype))
    else:
        theta.copy_(target)


RULE = Rule(initial_state, update)
