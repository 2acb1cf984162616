"""Sharpness-aware minimisation: the gradient of where a step of fixed length up the slope leads. Norms are over all layers.

    e = rho·g/‖g‖                                       sam
    e = rho·θ²⊙g/‖θ⊙g‖                                  asam
    the rule is given ∇(θ + e) of the same samples in g's place; θ stays where it is

Source: Foret et al. 2021 (arXiv:2010.01412), equations 2 and 3; Kwon et al. 2021 (arXiv:2102.11600), with η = 0; step for step
pytorch_optimizer's SAM, but without its 1e-12 beside ‖g‖, which would end the ascent where gradients vanish.

A zero gradient leads nowhere: the rule is given it twice. Two gradients a step. Failure modes: rho is a length in the space of all
weights, so in a large or a deep network it means less for each; where g is dominated by one layer, only that layer is displaced. In
float32 elements of e below 6e-8·|θ| are absorbed: of layers whose gradient has vanished nothing is felt.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from workers.engine.optimizers.norms import in_range, ratio
from workers.engine.optimizers.rule import Gradients, Hyper, Rule, State

RHO = "sam.rho"


def seeking(rule: Rule, ascent: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Rule:
    assert rule.probe is None, "refused at the door"

    def probe(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> Tensor:
        return ascent(theta, gradients.mean, hyper[RHO])

    def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, **flags: Any) -> None:
        assert gradients.at_probe is not None
        there = replace(gradients, mean=gradients.at_probe, at_probe=None, displacement=None, sample_squares=None)
        rule.update(theta, there, state, hyper, **flags)

    return replace(rule, update=update, probe=probe, degrees=None)


def up(theta: Tensor, gradient: Tensor, rho: Tensor) -> Tensor:
    """[R, P] of length rho."""
    direction, length = in_range(gradient)
    return direction * ratio(rho, length, 0.0).to(theta.dtype)


def up_beside_weights(theta: Tensor, gradient: Tensor, rho: Tensor) -> Tensor:
    """[R, P] of length rho in units of the weights."""
    return up(theta, gradient * theta, rho) * theta


def sam(rule: Rule, steps: int) -> Rule:
    return seeking(rule, up)


def asam(rule: Rule, steps: int) -> Rule:
    return seeking(rule, up_beside_weights)
