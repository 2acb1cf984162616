"""PGPE, policy gradients with parameter-based exploration: mirrored candidates teach θ and a standard deviation for each parameter, θ by
steps of bounded length (ClipUp). N candidates.

    z_i ~ N(0, I), i to N/2;   f_i⁺, f_i⁻ the centred ranks of L(θ ± σ·z_i), from −1/2, the lowest, to 1/2;   σ = sigma at first
    ĝ = Σ (f_i⁺ − f_i⁻)·σ·z_i
    v ← momentum·v + lr·ĝ/‖ĝ‖, and where ‖v‖ > max_velocity·lr shortened to that
    θ ← θ − v
    σ ← σ·(1 − clip(lr_sigma·Σ (f_i⁺ + f_i⁻)·(z_i² − 1)/N, −0.2, 0.2))

Source: Sehnke et al. 2010, "Parameter-exploring policy gradients", Neural Networks 23(4), with its symmetric sampling; ClipUp and the bound
on changes of σ from Toklu, Liskowski & Srivastava 2020 (arXiv:2008.02387). Rates of θ and of σ are in proportion to σ² and to σ, as the
first paper advises; ranks add up to zero, so that no baseline is needed. Equal losses share their rank.

Fixed points: ranks that go with no direction. N losses a step. It does not change where the loss is scaled or bent by a rising function.
Failure modes: steps are as long near the minimum as far from it, unless lr falls; lr is a length in the space of all parameters, so it has
to grow as √d; σ near a minimum shrinks at most as fast as ranks tell. Losses that are not finite rank last.
"""

import torch
from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.norms import in_range, norm, ratio
from workers.engine.optimizers.ranks import centred, combined, mirrored
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found

MOST = 0.2
"""Of σ, by which it changes in a step."""


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, population: int) -> State:
    return {"sigma": hyper["sigma"].to(theta.dtype).repeat(1, theta.shape[1]), "velocity": torch.zeros_like(theta)}


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws, *, population: int) -> Tensor:
    return mirrored(draws.normal(theta, population // 2) * state["sigma"][:, None])


def estimate(gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> Tensor:
    """ĝ/σ², of the losses' expected ranks."""
    return climbed(gradients) / state["sigma"] / state["sigma"]


def climbed(gradients: Gradients) -> Tensor:
    """ĝ [R, P]."""
    tried, losses = found(gradients)
    half, ranks = tried.shape[1] // 2, centred(losses)
    return combined(ranks[:, :half] - ranks[:, half:], tried[:, :half])


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> None:
    dtype, sigma, velocity, half = theta.dtype, state["sigma"], state["velocity"], population // 2
    unit, length = in_range(climbed(gradients))
    # momentum may be left out where it is 0 in every row
    velocity.mul_(hyper["momentum"].to(dtype) if "momentum" in hyper else 0)
    velocity.addcmul_(unit, ratio(hyper["lr"], length, 0.0).to(dtype))
    speed = norm(velocity).clamp_min(torch.finfo(torch.float64).tiny)
    velocity.mul_((hyper["lr"] * hyper["max_velocity"] / speed).clamp_max(1).to(dtype))
    theta.sub_(velocity)
    tried, losses = found(gradients)
    ranks = centred(losses)
    z = tried[:, :half] / sigma[:, None]
    # Σ f⁺ + f⁻ = 0, so the 1 of z² − 1 drops out
    wider = combined(ranks[:, :half] + ranks[:, half:], z.square_())
    change = (wider * (hyper["lr_sigma"] / population).to(dtype)).clamp_(-MOST, MOST)
    sigma.addcmul_(sigma, change, value=-1)


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
