"""sep-CMA-ES: CMA-ES whose covariance is diagonal, so that it takes memory and time in proportion to d. d parameters, N candidates,
g updates made, this one among them.

    z_i ~ N(0, I),  y_i = √C·z_i,  candidates θ + σ·y_i;   σ = sigma, C = 1, p_σ = p_c = 0 at first
    w_i ∝ ln(μ + 1) − ln(rank_i) for the μ = N/2 lowest losses, Σ w = 1;   μ_w = 1/Σ w²
    ȳ = Σ w_i·y_i,   θ ← θ + σ·ȳ
    p_σ ← (1 − c_σ)·p_σ + √(c_σ·(2 − c_σ)·μ_w)·ȳ/√C
    σ ← σ·exp(c_σ/d_σ·(‖p_σ‖/χ_d − 1))
    h = 1 where ‖p_σ‖/√(1 − (1 − c_σ)^(2g)) < (1.4 + 2/(d + 1))·χ_d, else 0
    p_c ← (1 − c_c)·p_c + h·√(c_c·(2 − c_c)·μ_w)·ȳ
    C ← (1 − c)·C + c/μ_w·(p_c² + (1 − h)·c_c·(2 − c_c)·C) + c·(1 − 1/μ_w)·Σ w_i·y_i²

    c_σ = (μ_w + 2)/(d + μ_w + 3),   d_σ = 1 + c_σ + 2·max(0, √((μ_w − 1)/(d + 1)) − 1),   c_c = 4/(d + 4)
    c = (d + 2)/3·(2/(μ_w·(d + √2)²) + (1 − 1/μ_w)·min(1, (2μ_w − 1)/((d + 2)² + μ_w))), at most 1
    χ_d = √d·(1 − 1/(4d) + 1/(21d²)), the mean of ‖N(0, I)‖

Source: Ros & Hansen 2008, "A simple modification in CMA-ES achieving linear time and space complexity", whose factor (d + 2)/3 is what it
adds to the constants of Hansen 2006, "The CMA evolution strategy: a comparing review". Equal losses share their weight. The `cmaes`
package leaves the factor out of the rank-one part and counts g from 2; the tests say so.

Fixed points: none. On a flat loss θ walks at random, by σ/√N a step. N losses a step. It does not change where the loss is scaled or bent
by a rising function, nor where each parameter is scaled together with its √C.
Failure modes: parameters that depend on each other (Rosenbrock) take it far longer than CMA-ES; from batch to batch ranks follow the noise
of the loss, and σ then shrinks early. Losses that are not finite rank last.
"""

from math import log, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from workers.engine.optimizers.draws import Draws
from workers.engine.optimizers.norms import norm
from workers.engine.optimizers.ranks import combined, weights_by_rank
from workers.engine.optimizers.rule import Gradients, Hyper, Layout, Rule, State, found


class Constants(NamedTuple):
    """Of the docstring."""

    mu_w: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c: float
    chi: float


def constants(parameters: int, population: int) -> Constants:
    d, mu = parameters, population // 2
    raw = [log(mu + 1) - log(rank) for rank in range(1, mu + 1)]
    mu_w = sum(raw) ** 2 / sum(each**2 for each in raw)
    c_sigma = (mu_w + 2) / (d + mu_w + 3)
    rank_mu = min(1, (2 * mu_w - 1) / ((d + 2) ** 2 + mu_w))
    return Constants(
        mu_w=mu_w,
        c_sigma=c_sigma,
        d_sigma=1 + c_sigma + 2 * max(0, sqrt((mu_w - 1) / (d + 1)) - 1),
        c_c=4 / (d + 4),
        c=min(1, (d + 2) / 3 * (2 / (mu_w * (d + sqrt(2)) ** 2) + (1 - 1 / mu_w) * rank_mu)),
        chi=sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2)),
    )


def weights(losses: Tensor) -> Tensor:
    """[R, N]"""
    count = losses.shape[1]
    ranks = torch.arange(1, count + 1, dtype=losses.dtype, device=losses.device)
    by_rank = (log(count // 2 + 1) - ranks.log()).clamp_min(0)
    return weights_by_rank(losses, by_rank / by_rank.sum())


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, population: int) -> State:
    return {
        "sigma": hyper["sigma"].clone(),
        "variance": torch.ones_like(theta),
        "path": torch.zeros_like(theta),
        "sigma_path": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["sigma"]),
    }


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws, *, population: int) -> Tensor:
    return draws.normal(theta, population) * (state["variance"].sqrt() * state["sigma"].to(theta.dtype))[:, None]


def estimate(gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> Tensor:
    """−C⁻¹·Σ w·y: what a step by C times the gradient would have come from."""
    tried, losses = found(gradients)
    return combined(-weights(losses), tried) / state["variance"]


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> None:
    tried, losses = found(gradients)
    dtype, k, w = theta.dtype, constants(theta.shape[1], population), weights(losses)
    sigma, variance, path, sigma_path = (state[name] for name in ("sigma", "variance", "path", "sigma_path"))
    state["step"].add_(1)
    y = tried / sigma.to(dtype)[:, None]
    theta.add_(combined(w, tried))
    mean = combined(w, y)
    sigma_path.mul_(1 - k.c_sigma).addcmul_(mean, variance.rsqrt(), value=sqrt(k.c_sigma * (2 - k.c_sigma) * k.mu_w))
    length = norm(sigma_path) / k.chi
    sigma.mul_((k.c_sigma / k.d_sigma * (length - 1)).exp())
    usual = (1 - (1 - k.c_sigma) ** (2 * state["step"])).sqrt() * (1.4 + 2 / (theta.shape[1] + 1))
    moving = (length < usual).double()
    path.mul_(1 - k.c_c).addcmul_(mean, (moving * sqrt(k.c_c * (2 - k.c_c) * k.mu_w)).to(dtype))
    kept = 1 - k.c + k.c / k.mu_w * (1 - moving) * k.c_c * (2 - k.c_c)
    variance.mul_(kept.to(dtype)).addcmul_(path, path, value=k.c / k.mu_w)
    variance.add_(combined(w, y.square_()), alpha=k.c * (1 - 1 / k.mu_w))


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
