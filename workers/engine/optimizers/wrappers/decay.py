"""Weight decay round a rule that has none, or has the other kind. λ is `added_decay.weight_decay`.

    coupled      g ← g + λ·θ                         where the gradient is taken, θ + p for a second one
    decoupled    θ ← (1 − lr·λ)·θ before the step      (1 − λ)·θ for rules without lr

Source: Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithms 1 and 2; as weight_decay in torch.optim.Adam and AdamW. Each sample's own
gradient gains λ·θ, too, so the mean of their squares λθ·(2g + λθ), and the curvature λ. lr is that of the step, before depth changes it.

Failure modes: coupled, the decay of a rule that does not depend on the gradient's magnitude is as strong as the gradient, and stronger
where that vanishes; decoupled, layers that no gradient reaches shrink towards zero.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State

DECAY = "added_decay.weight_decay"


def coupled(rule: Rule, steps: int) -> Rule:
    def probe(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> Tensor:
        assert rule.probe is not None
        return rule.probe(theta, regularised(theta, gradients, hyper), state, hyper, **flags)

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        rule.update(theta, regularised(theta, gradients, hyper), state, hyper, **flags)

    return replace(rule, update=update, probe=probe if rule.probe else None, degrees=None)


def regularised(theta: Tensor, gradients: Gradients, hyper: Hyper) -> Gradients:
    """The gradients of the loss plus λ‖θ‖²/2."""
    pull = theta * hyper[DECAY].to(theta.dtype)
    found = replace(gradients, mean=gradients.mean + pull)
    if gradients.at_probe is not None and gradients.displacement is not None:
        there = pull + gradients.displacement * hyper[DECAY].to(theta.dtype)
        found = replace(found, at_probe=gradients.at_probe + there)
    if gradients.sample_squares is not None:
        found = replace(found, sample_squares=gradients.sample_squares + pull * (2 * gradients.mean + pull))
    if gradients.curvature is not None:
        found = replace(found, curvature=gradients.curvature + hyper[DECAY].to(theta.dtype))
    return found


def decoupled(rule: Rule, steps: int) -> Rule:
    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        rate = hyper[DECAY] * hyper["lr"] if "lr" in hyper else hyper[DECAY]
        theta.mul_((1 - rate).to(theta.dtype))
        rule.update(theta, gradients, state, hyper, **flags)

    return replace(rule, update=update)
