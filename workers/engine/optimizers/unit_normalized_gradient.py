"""Normalised gradient descent, unit by unit: every unit's incoming weights move by the same length.

    m ← momentum·m + (1 − momentum)·g
    θ ← (1 − lr·weight_decay)·θ                         (decoupled)
    θ_u ← θ_u − lr·m_u/‖m_u‖                            for each unit u, its row of the weight and its bias as one vector

Source: as normalized_gradient, with the smallest blocks that Yu et al. 2017 (arXiv:1707.04822) allow; a unit's row as what is
normalised also in Brock et al. 2021 (arXiv:2102.06171), section 4, whose norms leave the bias out.

Fixed points: m_u = 0. A unit whose gradient is exactly zero stays. No eps: the steps do not depend on the gradient's size down to the
smallest normal number, and the norm is taken of numbers in range.
Failure modes: the step never shrinks by itself: θ_u circles the optimum at a distance of about lr. Units that matter and units whose
gradient is noise move by the same length, so that a layer of O units moves by lr·√O.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.normalized_gradient import initial_state
from workers.engine.optimizers.norms import in_range, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State, shrink


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    direction = gradients.mean
    if "momentum" in hyper:
        direction = state["exp_avg"].lerp_(direction, (1 - hyper["momentum"]).to(theta.dtype))
    shrink(theta, hyper)
    for layer, (out, into, bias) in zip(gradients.layers, gradients.shapes, strict=True):
        own, here = direction[:, layer], theta[:, layer]
        weights = out * into
        units = own[:, :weights].unflatten(1, (out, into))
        if bias:
            units = torch.cat([units, own[:, weights:, None]], 2)
        unit, length = (part.unflatten(0, (-1, out)) for part in in_range(units.flatten(0, 1)))
        step = unit * ratio(hyper["lr"][:, None], length, 0.0).to(theta.dtype)
        here[:, :weights].sub_(step[:, :, :into].flatten(1))
        if bias:
            here[:, weights:].sub_(step[:, :, into])


RULE = Rule(initial_state, update)
