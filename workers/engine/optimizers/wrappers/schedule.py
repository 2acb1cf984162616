"""Learning rates that change with the steps. k updates made so far, N of the whole training, W of them warm-up; R rows.

    lr_k = lr·(k + 1)/W                                          k < W
    lr_k = lr·f((k − W)/(N − W))                                  linear: f(p) = 1 − (1 − final_factor)·p
                                                                 cosine: f(p) = final_factor + (1 − final_factor)·(1 + cos πp)/2
    lr_k = lr·gamma^⌊(k − W)/step_size⌋                           step
    lr_k = lr                                                    linear_warmup

Source: torch.optim.lr_scheduler, step for step: SequentialLR of LinearLR(1/W, total_iters=W−1) and LinearLR, CosineAnnealingLR or StepLR.
The last update of all, k = N − 1, is not yet at p = 1.

k is a tensor, so that a captured step counts by itself; rows have schedules of their own. A rule's decoupled weight decay follows lr, as
in torch. Failure modes: what a rule remembers in units of steps (momentum) was made with other learning rates.
"""

from collections.abc import Callable
from dataclasses import replace
from math import pi
from typing import Any

import torch
from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State

Factor = Callable[[Tensor, Hyper, int], Tensor]
"""(k [..., 1], hyper, N) -> what lr is multiplied by, float64."""

COUNT = "schedule.step"


def scheduled(rule: Rule, steps: int, factor: Factor) -> Rule:
    def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, **flags: Any) -> State:
        return rule.initial_state(theta, hyper, layout, **flags) | {COUNT: torch.zeros_like(hyper["lr"])}

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        now = hyper["lr"] * factor(state[COUNT], hyper, steps)
        rule.update(theta, gradients, state, {**hyper, "lr": now}, **flags)
        state[COUNT].add_(1)

    return replace(rule, initial_state=initial_state, update=update)


def after_warmup(k: Tensor, hyper: Hyper, fall: Tensor) -> Tensor:
    warmup = hyper["schedule.warmup_steps"]
    return torch.where(k < warmup, (k + 1) / warmup.clamp_min(1), fall)


def progress(k: Tensor, hyper: Hyper, steps: int) -> Tensor:
    """From 0 at the end of the warm-up to 1 at the end of training."""
    warmup = hyper["schedule.warmup_steps"]
    return ((k - warmup) / (steps - warmup)).clamp(0, 1)


def rising(k: Tensor, hyper: Hyper, steps: int) -> Tensor:
    return after_warmup(k, hyper, torch.ones_like(k))


def straight(k: Tensor, hyper: Hyper, steps: int) -> Tensor:
    fall = 1 - (1 - hyper["schedule.final_factor"]) * progress(k, hyper, steps)
    return after_warmup(k, hyper, fall)


def half_a_cosine(k: Tensor, hyper: Hyper, steps: int) -> Tensor:
    final = hyper["schedule.final_factor"]
    fall = final + (1 - final) * (1 + torch.cos(pi * progress(k, hyper, steps))) / 2
    return after_warmup(k, hyper, fall)


def stairs(k: Tensor, hyper: Hyper, steps: int) -> Tensor:
    falls = ((k - hyper["schedule.warmup_steps"]) / hyper["schedule.step_size"]).floor().clamp_min(0)
    return after_warmup(k, hyper, hyper["schedule.gamma"] ** falls)


FACTORS: dict[str, Factor] = {
    "linear_warmup": rising,
    "linear": straight,
    "cosine": half_a_cosine,
    "step": stairs,
}


def of(kind: str) -> Callable[[Rule, int], Rule]:
    return lambda rule, steps: scheduled(rule, steps, FACTORS[kind])
