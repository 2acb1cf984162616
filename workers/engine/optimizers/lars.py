"""LARS: momentum SGD whose learning rate in each layer is in proportion to the layer's weights over its gradient.

    λ_l = trust_coefficient·‖θ_l‖/(‖g_l‖ + weight_decay·‖θ_l‖)      for each layer l, its weights and bias as one vector
    b ← momentum·b + λ_l·(g + weight_decay·θ)           (coupled)
    θ ← θ − lr·b

λ_l = 1 where one of the norms is zero. Source: You, Gitman & Ginsburg 2017 (arXiv:1708.03888), algorithm 1, with lr outside the
velocity (the same for a constant lr); step for step pytorch_optimizer's LARS on matrices, which it leaves out of vectors.

Fixed points: b = 0 and g = −weight_decay·θ. A zero gradient moves nothing but what is left in b, and the decay.
Failure modes: the step is trust_coefficient of the layer's norm whatever the gradient's size: it never shrinks by itself. A layer that
starts at zero takes plain gradient steps, and one that has shrunk to nearly nothing stays there.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, decayed
from workers.engine.scaling import scale


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"momentum_buffer": torch.zeros_like(theta)} if "momentum" in hyper else {}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    direction = torch.empty_like(theta)
    decay = hyper.get("weight_decay", torch.zeros_like(hyper["trust_coefficient"]))
    for place, layer in enumerate(gradients.layout.columns):
        here, own, exponent = theta[:, layer], gradients.mean[:, layer], gradients.exponent(place)
        if "weight_decay" in hyper and gradients.exponents is not None:  # beside which the size of g matters
            own = scale(own.clone(), torch.where(decay > 0, exponent, 0.0)[:, 0])
            exponent = torch.where(decay > 0, 0.0, exponent)
        weight_norm = norm(here)
        length = norm(own) + decay * weight_norm
        trust = ratio(hyper["trust_coefficient"] * weight_norm, length, torch.exp2(exponent))
        torch.mul(decayed(here, own, hyper), trust.to(dtype), out=direction[:, layer])
    if "momentum" in hyper:
        direction = state["momentum_buffer"].mul_(hyper["momentum"].to(dtype)).add_(direction)
    theta.addcmul_(direction, -hyper["lr"].to(dtype))


RULE = Rule(initial_state, update, degrees={})
