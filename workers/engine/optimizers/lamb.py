"""LAMB: Adam's direction, lengthened or shortened in each layer to the norm of the layer's weights.

    m ← beta1·m + (1 − beta1)·g
    v ← beta2·v + (1 − beta2)·g²
    u = (m/(1 − beta1^k)) / (√(v/(1 − beta2^k)) + eps) + weight_decay·θ            in the k-th step, k = 1, 2, …   (decoupled)
    θ_l ← θ_l − lr·‖θ_l‖/‖u_l‖·u_l                      for each layer l, its weights and bias as one vector

The quotient is 1 where one of the norms is zero. Source: You et al. 2020 (arXiv:1904.00962), algorithm 2, φ the identity.
pytorch_optimizer's Lamb leaves v's
correction for the start out, shrinks θ before its norm is taken and clips that norm to 10, which is not the paper's algorithm.

Fixed points: m = 0 and θ = 0 (without decay m = 0). A gradient that has always been zero moves nothing.
Failure modes: the relative step is lr whatever the gradient: it never shrinks by itself. The layer's norm hides eps (1e-6 at the
default): below it the direction is that of momentum SGD, so single weights with small gradients stop while their layer moves on;
only where all of u underflows does the layer stand still.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.adam import eps_dominated
from workers.engine.optimizers.norms import norm, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, at, nonzero


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {
        "exp_avg": torch.zeros_like(theta),
        "exp_avg_sq": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["lr"]),
    }


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype, gradient = theta.dtype, gradients.mean
    mean = state["exp_avg"].lerp_(gradient, (1 - hyper["beta1"]).to(dtype))
    scratch = torch.square(gradient)
    square = state["exp_avg_sq"].lerp_(scratch, (1 - hyper["beta2"]).to(dtype))
    step = state["step"].add_(1)
    root_correction = (1 - hyper["beta2"] ** step).sqrt()
    torch.sqrt(square, out=scratch).add_(nonzero(root_correction * hyper["eps"], dtype))
    direction = torch.div(mean, scratch, out=scratch)
    direction.mul_((root_correction / (1 - hyper["beta1"] ** step)).to(dtype))
    if "weight_decay" in hyper:
        direction.addcmul_(theta, hyper["weight_decay"].to(dtype))
    for layer in gradients.layout.columns:
        here, own = theta[:, layer], direction[:, layer]
        here.addcmul_(own, -(at(hyper["lr"], layer) * ratio(norm(here), norm(own), 1.0)).to(dtype))


RULE = Rule(initial_state, update, eps_dominated)
