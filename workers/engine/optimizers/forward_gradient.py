"""Forward gradient: SGD on a gradient that is known along one random direction only. u the rounding of θ's format, d parameters.

    v ~ N(0, I);   h = u^(1/3)·‖θ‖/√d, or u^(1/3) where θ = 0
    ĝ = (L(θ + h·v) − L(θ − h·v))/(2h)·v          of the same batch: ∇L·v up to h², times v
    θ ← θ − lr·ĝ

Source: Baydin et al. 2022, "Gradients without backpropagation" (arXiv:2202.08587), algorithm 1. There ∇L·v is exact, by forward-mode
differentiation in one pass; here it is a central difference whose h balances what it leaves out against rounding, two passes forward: in
float64 within 1e-9 of the derivative, in float32 a few digits. So it is MeZO with an h that follows the format and the weights.

Fixed points: ∇L·v = 0 for every v. ĝ is unbiased up to terms of h². Two losses a step.
Failure modes: |ĝ|² is about (d + 2)·|g|²: the rate has to be d times smaller than a gradient's; the step is proportional to the loss; where
h·|g| is below the rounding of the loss, as where gradients vanish, ĝ is noise. A loss that is not finite makes θ NaN.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.norms import norm
from workers.engine.optimizers.ranks import mirrored
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {}


def distance(theta: Tensor) -> Tensor:
    """h, float64 [R, 1]."""
    scale = norm(theta) / theta.shape[1] ** 0.5
    spread = torch.where(scale > 0, scale, 1.0)
    h: Tensor = spread * torch.finfo(theta.dtype).eps ** (1 / 3)
    return h


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws) -> Tensor:
    return mirrored(draws.normal(theta, 1) * distance(theta).to(theta.dtype)[:, None])


def estimate(gradients: Gradients, state: State, hyper: Hyper) -> Tensor:
    """h²·ĝ: in direction."""
    tried, losses = found(gradients)
    return tried[:, 0] * ((losses[:, :1] - losses[:, 1:]) / 2).to(tried.dtype)


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    tried, losses = found(gradients)
    h = distance(theta)
    slope = (losses[:, :1] - losses[:, 1:]) / (2 * h)
    theta.addcmul_(tried[:, 0], -(hyper["lr"] * slope / h).to(theta.dtype))


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
