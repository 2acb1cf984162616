"""Learning rates by depth. l = 0 … L−1 from the input upwards, layers with parameters; R rows, P parameters.

    power          lr_l = lr·(L − l)^power
    exponential    lr_l = lr·base^(L−1−l)
    auto           lr_l = lr·c_l, c_l = 1 at the start, and after each step, with u_l the root mean square of what it moved in layer l:
                   c_l ← c_l·(u_last/u_l)^(1 − smoothing)             where both moved
                   c_l ← 10·c_l                                       where the last layer moved, l did not, and ∇_l ≠ 0
                   within [1/bound, bound]

The last layer has lr in all of them. Source: ours. The two laws are for those who know what their network does (`prediction` of a preview
tells the decades per layer). `auto` equalises what a step moves, not the gradient's size: under SGD the two are the same, and c_l becomes
the ratio of the layers' gradients; a rule that does not depend on the gradient's magnitude moves all layers alike by itself and keeps c_l
near 1. Being measured at θ, it notices a step that rounding has swallowed. The last layer's steps still shrink with its gradient, and all
others with them.

Fixed points: those of the rule; c_l rests where all layers move alike. Failure modes of `auto`: a gradient that is noise is amplified
like one that is signal, so a layer below a collapsed one wanders; layers whose true scale is smaller (a much smaller initialisation) move
too far; a layer whose gradient returns at once after having vanished is thrown by c_l for the some 1/(1 − smoothing) steps until that has
fallen; if the last layer stands still, nothing is learnt of the others. The rule's own decoupled weight decay is part of what moved and
is scaled, too: `added_decay` is not. Rules that sum over layers (Prodigy, D-Adaptation) see the scaled rates.
"""

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import torch
from torch import Tensor

from workers.engine.optimizers.norms import norm
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State

FACTOR = "depth_lr.log_factor"
"""State of `auto`, float64 [R, L]."""
SWALLOWED = log(10)
"""What the logarithm of a factor grows by where rounding has swallowed the step."""

Law = Callable[[Tensor, Hyper], Tensor]
"""(L−1−l, float64 [L]; hyper) -> log of the factor, [R, L]."""


def by_law(rule: Rule, law: Law) -> Rule:
    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        above = torch.arange(len(gradients.layout.layers) - 1, -1, -1, dtype=torch.float64, device=theta.device)
        rule.update(theta, gradients, state, with_factors(hyper, law(above, hyper), gradients.layout), **flags)

    return replace(rule, update=update)


def power(rule: Rule, steps: int) -> Rule:
    return by_law(rule, lambda above, hyper: hyper["depth_lr.power"] * (above + 1).log())


def exponential(rule: Rule, steps: int) -> Rule:
    return by_law(rule, lambda above, hyper: hyper["depth_lr.base"].log() * above)


def auto(rule: Rule, steps: int) -> Rule:
    def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, **flags: Any) -> State:
        zeros = theta.new_zeros(len(theta), len(layout.layers), dtype=torch.float64)
        return rule.initial_state(theta, hyper, layout, **flags) | {FACTOR: zeros}

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        layout, before = gradients.layout, theta.clone()
        rule.update(theta, gradients, state, with_factors(hyper, state[FACTOR], layout), **flags)
        moved = rms(torch.sub(theta, before, out=before), layout)
        asked = rms(gradients.mean if gradients.at_probe is None else gradients.at_probe, layout)
        state[FACTOR].add_(correction(moved, asked, hyper["depth_lr.smoothing"]))
        limit = hyper["depth_lr.bound"].log()
        state[FACTOR].clamp_(-limit, limit)

    return replace(rule, initial_state=initial_state, update=update)


def correction(moved: Tensor, asked: Tensor, smoothing: Tensor) -> Tensor:
    """What to add to the factors' logarithms, [R, L]; nothing where nothing can be known.

    Args:
        moved: root mean square of what the step moved in each layer, [R, L].
        asked: that of its gradient.
        smoothing: [R, 1].
    """
    last = moved[:, -1:]
    known = (last > 0) & last.isfinite() & moved.isfinite()
    compared = (1 - smoothing) * (last / moved).log()
    swallowed = torch.where(asked > 0, SWALLOWED, 0.0)
    return torch.where(known, torch.where(moved > 0, compared, swallowed), 0.0)


def rms(values: Tensor, layout: Layout) -> Tensor:
    """[R, P] -> root mean square of each layer, float64 [R, L]."""
    sizes = [columns.stop - columns.start for columns in layout.columns]
    return torch.cat([norm(values[:, own]) / n**0.5 for own, n in zip(layout.columns, sizes, strict=True)], 1)


def with_factors(hyper: Hyper, log_factors: Tensor, layout: Layout) -> dict[str, Tensor]:
    """The learning rate of every parameter, float64 [R, P]."""
    factors = log_factors.exp()
    each = [
        factors[:, place : place + 1].expand(-1, columns.stop - columns.start)
        for place, columns in enumerate(layout.columns)
    ]
    return {**hyper, "lr": hyper["lr"] * torch.cat(each, 1)}
