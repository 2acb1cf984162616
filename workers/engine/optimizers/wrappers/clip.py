"""Clipping: a rule is given a gradient that is never too long. R rows, L layers; norms are taken in range.

    value            g ← min(max(g, −clip_value), clip_value)
    norm             g ← g·min(1, max_norm/(‖g‖ + 1e-6))                       all layers as one vector
    norm_per_layer   g_l ← g_l·min(1, max_norm/(‖g_l‖ + 1e-6))                 a layer's weights and bias as one vector
    adaptive         G_i ← G_i·min(1, clip_factor·max(‖W_i‖, eps)/‖G_i‖)        i a row of a weight, or a whole bias; not in the last layer

Source: torch.nn.utils.clip_grad_value_ and clip_grad_norm_, whose 1e-6 makes the clipped norm a little less than max_norm; Brock et al.
2021 (arXiv:2102.06171), equation 3, and for the last layer section 4.1; as pytorch_optimizer's agc but for its floor of 1e-6 under ‖G_i‖,
which does not matter where something is clipped unless clip_factor·eps is below 1e-6.

A second gradient that a rule asks for is clipped like the first. `gradient_*` in the statistics are those of the gradient before;
`clip.ratio` says what was left of it, and is remembered here for them. Failure modes: a max_norm below the 1e-6 shortens every gradient.
A threshold that always clips makes the step's length its own (normalised gradient descent); clipped by value, the gradient turns. A rule
that does not depend on the gradient's magnitude is changed by `value` and `adaptive` only in the proportions, by a `norm` hardly at all.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State

RATIO = "clip.ratio"
"""State, float64 [R, L]: ‖clipped g_l‖/‖g_l‖ in the last step, 1 where g_l is zero."""

Clip = Callable[[Tensor, Tensor, Hyper, Layout], Tensor]
"""(g [R, P], θ, hyper, layout) -> the clipped gradient."""

NORM_EPS = 1e-6


def clipped(rule: Rule, clip: Clip) -> Rule:
    def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, **flags: Any) -> State:
        ones = theta.new_ones(len(theta), len(layout.layers), dtype=torch.float64)
        return rule.initial_state(theta, hyper, layout, **flags) | {RATIO: ones}

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        layout = gradients.layout
        mean = clip(gradients.mean, theta, hyper, layout)
        at_probe = gradients.at_probe
        if at_probe is not None:
            at_probe = clip(at_probe, theta, hyper, layout)
        for place, columns in enumerate(layout.columns):
            before, after = norm(gradients.mean[:, columns]), norm(mean[:, columns])
            state[RATIO][:, place : place + 1] = ratio(after, before, 1.0)
        rule.update(theta, replace(gradients, mean=mean, at_probe=at_probe), state, hyper, **flags)

    return replace(rule, initial_state=initial_state, update=update, degrees=None)


def within_value(gradient: Tensor, theta: Tensor, hyper: Hyper, layout: Layout) -> Tensor:
    largest = hyper["clip.clip_value"].to(gradient.dtype)
    return torch.clamp(gradient, -largest, largest)


def within_norm(gradient: Tensor, theta: Tensor, hyper: Hyper, layout: Layout) -> Tensor:
    return gradient * shortening(norm(gradient), hyper).to(gradient.dtype)


def within_norm_per_layer(gradient: Tensor, theta: Tensor, hyper: Hyper, layout: Layout) -> Tensor:
    return torch.cat([within_norm(gradient[:, own], theta, hyper, layout) for own in layout.columns], 1)


def shortening(length: Tensor, hyper: Hyper) -> Tensor:
    return (hyper["clip.max_norm"] / (length + NORM_EPS)).clamp_max(1)


def beside_weights(gradient: Tensor, theta: Tensor, hyper: Hyper, layout: Layout) -> Tensor:
    found = gradient.clone()
    for layer in layout.layers[:-1]:
        for columns, shape in layer.parts:
            units = (-1, *shape) if len(shape) > 1 else (-1, 1, *shape)  # [R, out, into], or a vector as one unit
            here, own = (values[:, columns].reshape(units).flatten(2) for values in (theta, gradient))
            longest = hyper["clip.clip_factor"] * torch.maximum(length_of(here), hyper["clip.eps"])
            kept = ratio(longest, length_of(own), 1.0).clamp_max(1)
            found[:, columns] *= kept[:, :, None].expand(own.shape).flatten(1).to(gradient.dtype)
    return found


def length_of(units: Tensor) -> Tensor:
    """[R, U, n] -> ‖·‖₂ of each, float64 [R, U]."""
    found: Tensor = norm(units.flatten(0, 1)).unflatten(0, units.shape[:2])
    return found.squeeze(2)


CLIPS: dict[str, Clip] = {
    "value": within_value,
    "norm": within_norm,
    "norm_per_layer": within_norm_per_layer,
    "adaptive": beside_weights,
}


def of(kind: str) -> Callable[[Rule, int], Rule]:
    return lambda rule, steps: clipped(rule, CLIPS[kind])
