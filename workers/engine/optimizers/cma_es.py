"""CMA-ES: candidates of a normal distribution whose whole covariance matrix is learned, so that parameters that depend on each other
are moved together. Memory grows as d², time as d³. d parameters, N candidates, g updates made, this one among them.

    z_i ~ N(0, I),  y_i = √C·z_i,  candidates θ + σ·y_i;   σ = sigma, C = I, p_σ = p_c = 0 at first; √C is the symmetric root
    w′_i = ln((N + 1)/2) − ln(rank_i);   w_i = w′_i/Σ⁺ where positive, α·w′_i/Σ⁻ where negative, Σ⁺ and Σ⁻ the sums of |w′| of either kind
    ȳ = Σ⁺ w_i·y_i,   θ ← θ + σ·ȳ
    p_σ ← (1 − c_σ)·p_σ + √(c_σ·(2 − c_σ)·μ_w)·ȳ/√C
    σ ← σ·exp(c_σ/d_σ·(‖p_σ‖/χ_d − 1))
    h = 1 where ‖p_σ‖/√(1 − (1 − c_σ)^(2g)) < (1.4 + 2/(d + 1))·χ_d, else 0
    p_c ← (1 − c_c)·p_c + h·√(c_c·(2 − c_c)·μ_w)·ȳ
    C ← (1 − c_1 − c_μ·Σw + (1 − h)·c_1·c_c·(2 − c_c))·C + c_1·p_c·p_cᵀ + c_μ·Σ v_i·y_i·y_iᵀ,   v_i = w_i, or w_i·d/‖z_i‖² where negative

    μ_w = (Σ⁺ w′)²/Σ⁺ w′²,  μ⁻ likewise of the negative;   α = min(1 + c_1/c_μ, 1 + 2μ⁻/(μ_w + 2), (1 − c_1 − c_μ)/(d·c_μ))
    c_1 = 2/((d + 1.3)² + μ_w),   c_μ = min(1 − c_1, 2·(μ_w − 2 + 1/μ_w)/((d + 2)² + μ_w))
    c_σ = (μ_w + 2)/(d + μ_w + 5),   d_σ = 1 + c_σ + 2·max(0, √((μ_w − 1)/(d + 1)) − 1)
    c_c = (4 + μ_w/d)/(d + 4 + 2μ_w/d),   χ_d = √d·(1 − 1/(4d) + 1/(21d²)), the mean of ‖N(0, I)‖

Source: Hansen 2016, "The CMA evolution strategy: a tutorial" (arXiv:1604.00772), figure 6 and table 1, negative weights included.
Deviations: candidates by the symmetric root, where the tutorial has B·D: the same distribution, and the same numbers whatever basis an
eigenvalue that stands twice is given; the root is renewed in every step (the tutorial lets it wait); equal losses share their weights.

Fixed points: none. On a flat loss θ walks at random, by σ/√N a step. N losses a step. It does not change where the loss is scaled or bent
by a rising function, nor where the parameters are mapped by any matrix together with √C.
Failure modes: d²/10 losses and more until C is learned; from batch to batch ranks follow the noise of the loss, and σ then shrinks early.
In float32 √C is lost where C's condition passes 1e7; eigenvalues are held above that. Losses that are not finite rank last.
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

    alpha: float
    mu_w: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float
    chi: float


def constants(parameters: int, population: int) -> Constants:
    d = parameters
    raw = [log((population + 1) / 2) - log(rank) for rank in range(1, population + 1)]
    up, down = [each for each in raw if each > 0], [-each for each in raw if each <= 0]
    mu_w, mu_down = (sum(side) ** 2 / sum(each**2 for each in side) for side in (up, down))
    c_sigma = (mu_w + 2) / (d + mu_w + 5)
    c_1 = 2 / ((d + 1.3) ** 2 + mu_w)
    c_mu = min(1 - c_1, 2 * (mu_w - 2 + 1 / mu_w) / ((d + 2) ** 2 + mu_w))
    return Constants(
        alpha=min(1 + c_1 / c_mu, 1 + 2 * mu_down / (mu_w + 2), (1 - c_1 - c_mu) / (d * c_mu)),
        mu_w=mu_w,
        c_sigma=c_sigma,
        d_sigma=1 + c_sigma + 2 * max(0, sqrt((mu_w - 1) / (d + 1)) - 1),
        c_c=(4 + mu_w / d) / (d + 4 + 2 * mu_w / d),
        c_1=c_1,
        c_mu=c_mu,
        chi=sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2)),
    )


def initial_state(theta: Tensor, hyper: Hyper, layout: Layout, *, population: int) -> State:
    one = torch.eye(theta.shape[1], dtype=theta.dtype, device=theta.device).repeat(len(theta), 1, 1)
    return {
        "sigma": hyper["sigma"].clone(),
        "covariance": one,
        "basis": one.clone(),
        "spread": torch.ones_like(theta),
        "path": torch.zeros_like(theta),
        "sigma_path": torch.zeros_like(theta),
        "step": torch.zeros_like(hyper["sigma"]),
    }


def ask(theta: Tensor, state: State, hyper: Hyper, draws: Draws, *, population: int) -> Tensor:
    sigma = state["sigma"].to(theta.dtype)
    return by_root(draws.normal(theta, population), state, state["spread"] * sigma)


def estimate(gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> Tensor:
    """−C⁻¹·Σ⁺ w·y: what a step by C times the gradient would have come from."""
    tried, losses = found(gradients)
    up, _ = weights(losses, 0)
    return by_root(combined(-up, tried)[:, None], state, state["spread"] ** -2).squeeze(1)


def update(theta: Tensor, gradients: Gradients, state: State, hyper: Hyper, *, population: int) -> None:
    tried, losses = found(gradients)
    dtype, d = theta.dtype, theta.shape[1]
    k = constants(d, population)
    sigma, covariance, path, sigma_path = (state[name] for name in ("sigma", "covariance", "path", "sigma_path"))
    up, down = weights(losses, k.alpha)
    state["step"].add_(1)
    y = tried / sigma.to(dtype)[:, None]
    z = by_root(y, state, state["spread"].reciprocal())
    theta.add_(combined(up, tried))
    mean = combined(up, y)
    sigma_path.mul_(1 - k.c_sigma).add_(combined(up, z), alpha=sqrt(k.c_sigma * (2 - k.c_sigma) * k.mu_w))
    length = norm(sigma_path) / k.chi
    sigma.mul_((k.c_sigma / k.d_sigma * (length - 1)).exp())
    usual = (1 - (1 - k.c_sigma) ** (2 * state["step"])).sqrt() * (1.4 + 2 / (d + 1))
    moving = (length < usual).double()
    path.mul_(1 - k.c_c).addcmul_(mean, (moving * sqrt(k.c_c * (2 - k.c_c) * k.mu_w)).to(dtype))
    kept = 1 - k.c_1 - k.c_mu * (1 - k.alpha) + k.c_1 * (1 - moving) * k.c_c * (2 - k.c_c)
    lengths = torch.linalg.vector_norm(z, dim=2).double().square().clamp_min(torch.finfo(dtype).tiny)
    scaled = up + down * d / lengths
    covariance.mul_(kept.to(dtype)[:, :, None]).baddbmm_(path[:, :, None], path[:, None], alpha=k.c_1)
    covariance.baddbmm_((y * scaled.to(dtype)[:, :, None]).mT, y, alpha=k.c_mu)
    decompose(covariance, state)


def weights(losses: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """[R, N] each: those of the better half, which move θ, and −alpha of the others'."""
    count = losses.shape[1]
    ranks = torch.arange(1, count + 1, dtype=losses.dtype, device=losses.device)
    raw = log((count + 1) / 2) - ranks.log()
    up, down = (side / side.sum() for side in (raw.clamp_min(0), raw.clamp_max(0)))
    return weights_by_rank(losses, up), weights_by_rank(losses, -alpha * down)


def by_root(vectors: Tensor, state: State, spread: Tensor) -> Tensor:
    """B·spread·Bᵀ·x of each, [R, N, P]: √C where the spread is √C's own."""
    basis = state["basis"]
    return vectors @ basis * spread[:, None] @ basis.mT


def decompose(covariance: Tensor, state: State) -> None:
    """C = B·spread²·Bᵀ. A row that has left the format must not stop its neighbours; its θ tells."""
    known = covariance.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    squares, basis = torch.linalg.eigh(known)
    least = squares[:, -1:] * torch.finfo(covariance.dtype).eps
    state["spread"].copy_(squares.maximum(least).clamp_min(torch.finfo(covariance.dtype).tiny).sqrt())
    state["basis"].copy_(basis)


RULE = Rule(initial_state, update, ask=ask, estimate=estimate)
