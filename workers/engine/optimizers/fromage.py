"""Fromage: every layer turns by the same angle: a step of lr times the weights' norm, then back onto the sphere.

    θ_l ← (θ_l − lr·‖θ_l‖/‖g_l‖·g_l) / √(1 + lr²)       for each layer l, its weights and bias as one vector

The quotient of norms is 1 where one of them is zero. Source: Bernstein et al. 2020 (arXiv:2002.03432), algorithm 1; the division
keeps the norm where g_l is perpendicular to θ_l.

Fixed points: none but θ = 0: a layer without gradient shrinks by √(1 + lr²) a step, as in the authors' code.
Failure modes: the relative step is lr whatever the gradient: it never shrinks by itself. A layer that starts at zero takes plain
gradient steps, and its norm then limits how fast it grows. No memory: noise is followed as far as the signal.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, at


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {}


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    dtype = theta.dtype
    for place, layer in enumerate(gradients.layout.columns):
        here, own = theta[:, layer], gradients.mean[:, layer]
        plain = torch.exp2(gradients.exponent(place))
        here.addcmul_(own, -(at(hyper["lr"], layer) * ratio(norm(here), norm(own), plain)).to(dtype))
    theta.div_((1 + hyper["lr"].square()).sqrt().to(dtype))


RULE = Rule(initial_state, update, degrees={})
