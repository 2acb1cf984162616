"""MeZO: SGD on a gradient that is estimated from two losses along one Gaussian direction.

    z ~ N(0, I), drawn anew from (seed, step) and never kept
    ĝ = (L(θ + epsilon·z) − L(θ − epsilon·z))/(2·epsilon)·z          of the same batch
    θ ← θ − lr·ĝ

Source: Malladi et al. 2023 (arXiv:2305.17333), algorithm 1; the estimator is SPSA's with a Gaussian in place of ±1. The paper perturbs θ in
place and needs no second copy of it; here the candidates stand beside each other, which gives the same numbers up to rounding.

Fixed points: equal losses on both sides for every z. ĝ is unbiased up to terms of epsilon². Two losses a step.
Failure modes: |ĝ|² is about (d + 2)·|g|²: learning rates are thousands of times smaller than a gradient's, and from a random start
progress is slow in proportion; the step is proportional to the loss; where epsilon·|g| is below the rounding of the loss ĝ is noise. A loss
that is not finite makes θ NaN.
"""

from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.ranks import mirrored
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {}


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws) -> Tensor:
    return mirrored(draws.normal(theta, 1) * hyper["epsilon"].to(theta.dtype)[:, None])


def estimate(gradients: Gradients, state: State, hyper: Hyper) -> Tensor:
    tried, losses = found(gradients)
    slope = (losses[:, :1] - losses[:, 1:]) / (2 * hyper["epsilon"])
    return tried[:, 0] / hyper["epsilon"].to(tried.dtype) * slope.to(tried.dtype)


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    theta.addcmul_(estimate(gradients, state, hyper), -hyper["lr"].to(theta.dtype))


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
