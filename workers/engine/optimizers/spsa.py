"""SPSA, simultaneous perturbation stochastic approximation: the gradient from two losses. k updates made so far.

    c_k = c/(k + 1)^gamma,   a_k = lr/(stability + k + 1)^alpha
    Δ ∈ {−1, 1}^d at random
    ĝ = (L(θ + c_k·Δ) − L(θ − c_k·Δ))/(2c_k)·Δ          of the same batch
    θ ← θ − a_k·ĝ

Source: Spall 1992, IEEE Transactions on Automatic Control 37(3), equations 2.1 and 2.2; gains of Spall 1998, IEEE Transactions on Aerospace
and Electronic Systems 34(3). ĝ is unbiased up to terms of c_k²; 1/Δ_i = Δ_i.

Fixed points: L(θ + c_k·Δ) = L(θ − c_k·Δ) for every Δ. Two losses a step.
Failure modes: |ĝ|² is about d·|g|², so a learning rate has to be about d times smaller than a gradient's; the step is proportional to the
loss; where c_k·|g| is below the rounding of the loss, ĝ is noise. A loss that is not finite makes θ NaN.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.ranks import mirrored
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout) -> State:
    return {"step": torch.zeros_like(hyper["lr"])}


def distance(state: State, hyper: Hyper) -> Tensor:
    """c_k, [R, 1]."""
    return hyper["c"] / (state["step"] + 1) ** hyper["gamma"]


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws) -> Tensor:
    return mirrored((draws.signs(theta) * distance(state, hyper).to(theta.dtype))[:, None])


def estimate(gradients: Gradients, state: State, hyper: Hyper) -> Tensor:
    tried, losses = found(gradients)
    slope = (losses[:, :1] - losses[:, 1:]) / (2 * distance(state, hyper))
    return tried[:, 0].sign() * slope.to(tried.dtype)


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper) -> None:
    gain = hyper["lr"] / (hyper["stability"] + state["step"] + 1) ** hyper["alpha"]
    theta.addcmul_(estimate(gradients, state, hyper), -gain.to(theta.dtype))
    state["step"].add_(1)


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
