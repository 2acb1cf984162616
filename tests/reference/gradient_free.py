"""Gradient-free rules, one trial and one candidate at a time, written from their papers."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import cmaes
import numpy as np
from numpy.typing import NDArray

from reference import directions

Array = NDArray[np.float64]
Losses = Callable[[int, Array], Array]

normal = cache(directions.normal)


def random_search(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    sigma: float,
    population: int,
) -> list[Array]:
    """Matyas 1965."""
    path = []
    for k in range(steps):
        least, best = float(losses(k, theta)), theta
        for z in normal(seed, k, population, len(theta)):
            loss = float(losses(k, theta + sigma * z))
            if loss < least:
                least, best = loss, theta + sigma * z
        theta = best
        path.append(theta)
    return path


def spsa(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    lr: float,
    c: float,
    stability: float,
    alpha: float,
    gamma: float,
) -> list[Array]:
    """Spall 1998, the steps of section III, k from 0."""
    path = []
    for k in range(steps):
        a_k, c_k = lr / (stability + k + 1) ** alpha, c / (k + 1) ** gamma
        delta = directions.signs(seed, k, len(theta))
        above, below = float(losses(k, theta + c_k * delta)), float(losses(k, theta - c_k * delta))
        theta = theta - a_k * (above - below) / (2 * c_k * delta)
        path.append(theta)
    return path


def mezo(
    theta: Array, gradients: object, layers: object, steps: int, *, losses: Losses, seed: int, lr: float, epsilon: float
) -> list[Array]:
    """Malladi et al. 2023, algorithm 1."""
    path = []
    for k in range(steps):
        (z,) = normal(seed, k, 1, len(theta))
        projected = (float(losses(k, theta + epsilon * z)) - float(losses(k, theta - epsilon * z))) / (2 * epsilon)
        theta = theta - lr * projected * z
        path.append(theta)
    return path


def openai_es(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    lr: float,
    sigma: float,
    momentum: float,
    population: int,
    ranked: bool,
) -> list[Array]:
    """Salimans et al. 2017, algorithm 1, mirrored."""
    path, velocity = [], np.zeros_like(theta)
    for k in range(steps):
        z = normal(seed, k, population // 2, len(theta))
        z = np.concatenate([z, -z])
        weights = np.array([float(losses(k, theta + sigma * one)) for one in z])
        if ranked:
            weights = centred_ranks(weights)
        estimate = sum(weight * one for weight, one in zip(weights, z, strict=True)) / (population * sigma)
        velocity = momentum * velocity + estimate
        theta = theta - lr * velocity
        path.append(theta)
    return path


def snes(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    sigma: float,
    eta_mu: float,
    eta_sigma: float,
    population: int,
) -> list[Array]:
    """Schaul, Glasmachers & Schmidhuber 2011, algorithm 1, a candidate and a parameter at a time."""
    d = len(theta)
    raw = [max(0.0, np.log(population / 2 + 1) - np.log(rank)) for rank in range(1, population + 1)]
    by_rank = np.array(raw) / sum(raw) - 1 / population
    rate = eta_sigma * (3 + np.log(d)) / (5 * np.sqrt(d))
    path, spread = [], np.full(d, sigma)
    for k in range(steps):
        z = normal(seed, k, population, d)
        utility = shared([float(losses(k, theta + spread * one)) for one in z], by_rank)
        up, wider = (sum(u * one for u, one in zip(utility, many, strict=True)) for many in (z, z**2 - 1))
        theta = theta + eta_mu * spread * up
        spread = spread * np.exp(rate / 2 * wider)
        path.append(theta)
    return path


def sep_cma_es(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    sigma: float,
    population: int,
) -> list[Array]:
    """CyberAgent's, given our directions, the paper's rates and a count of steps that begins at 1.

    It has c_cov of Ros & Hansen 2008 for the rank-μ part and 2/((d + 1.3)² + μ_w), without their factor, for the rank-one part.
    """
    theirs: Any = cmaes.SepCMA(mean=theta.copy(), sigma=sigma, population_size=population)
    mu_w = theirs._mu_eff
    c_cov = min(1.0, theirs._cmu)
    theirs._c1, theirs._cmu, theirs._g = c_cov / mu_w, c_cov * (1 - 1 / mu_w), -1
    return list(followed(theirs, theirs._weights, losses, seed, steps))


def cma_es(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    sigma: float,
    population: int,
) -> list[Array]:
    """Hansen 2016, figure 6 and table 1, a candidate at a time; by the symmetric root of C, and equal losses share their weights."""
    n, lam = len(theta), population
    raw = np.log((lam + 1) / 2) - np.log(np.arange(1, lam + 1))
    mu = lam // 2
    mu_eff, mu_eff_minus = (part.sum() ** 2 / (part**2).sum() for part in (raw[:mu], raw[mu:]))
    c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
    c_mu = min(1 - c_1, 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + 2 * mu_eff / 2))
    limits = 1 + c_1 / c_mu, 1 + 2 * mu_eff_minus / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu)
    up = np.concatenate([raw[:mu] / raw[:mu].sum(), np.zeros(lam - mu)])
    down = np.concatenate([np.zeros(mu), min(limits) * raw[mu:] / abs(raw[mu:]).sum()])
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
    d_sigma = 1 + 2 * max(0, np.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma
    c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
    expected = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    path: list[Array] = []
    covariance, p_sigma, p_c = np.eye(n), np.zeros(n), np.zeros(n)
    for g in range(steps):
        values, basis = np.linalg.eigh(covariance)
        root, inverse = (basis @ np.diag(values**power) @ basis.T for power in (0.5, -0.5))
        y = [root @ z for z in normal(seed, g, lam, n)]
        found = [float(losses(g, theta + sigma * one)) for one in y]
        better, worse = shared(found, up), shared(found, down)
        y_w = np.zeros(n)
        for weight, one in zip(better, y, strict=True):
            y_w = y_w + weight * one
        theta = theta + sigma * y_w
        p_sigma = (1 - c_sigma) * p_sigma + np.sqrt(c_sigma * (2 - c_sigma) * mu_eff) * inverse @ y_w
        length = np.linalg.norm(p_sigma)
        usual = np.sqrt(1 - (1 - c_sigma) ** (2 * (g + 1)))
        h_sigma = float(length / usual < (1.4 + 2 / (n + 1)) * expected)
        sigma = sigma * np.exp(c_sigma / d_sigma * (length / expected - 1))
        p_c = (1 - c_c) * p_c + h_sigma * np.sqrt(c_c * (2 - c_c) * mu_eff) * y_w
        delta = (1 - h_sigma) * c_c * (2 - c_c)
        covariance = (1 + c_1 * delta - c_1 - c_mu * (up + down).sum()) * covariance + c_1 * np.outer(p_c, p_c)
        for plus, minus, one in zip(better, worse, y, strict=True):
            covariance = covariance + c_mu * (plus + minus * n / np.linalg.norm(inverse @ one) ** 2) * np.outer(
                one, one
            )
        path.append(theta)
    return path


def cyberagents_cma_es(
    theta: Array, steps: int, *, losses: Losses, seed: int, sigma: float, population: int
) -> list[Array]:
    """The `cmaes` package's, given our directions and a count of steps that begins at 1. It does not know of equal losses."""
    theirs: Any = cmaes.CMA(mean=theta.copy(), sigma=sigma, population_size=population)
    theirs._g = -1
    path = []
    for k in range(steps):
        z = iter(normal(seed, k, population, len(theta)))
        theirs._rng = SimpleNamespace(
            randn=lambda _, given=z: theirs._B.T @ next(given)
        )  # it multiplies by B·D, we by B·D·Bᵀ
        asked = [theirs.ask() for _ in range(population)]
        theirs.tell([(place, float(losses(k, place))) for place in asked])
        path.append(theirs.mean.copy())
    return path


def pgpe(
    theta: Array,
    gradients: object,
    layers: object,
    steps: int,
    *,
    losses: Losses,
    seed: int,
    lr: float,
    sigma: float,
    momentum: float,
    max_velocity: float,
    lr_sigma: float,
    population: int,
) -> list[Array]:
    """Sehnke et al. 2010, symmetric sampling with T and S of its section 3; ClipUp by Toklu et al. 2020, algorithm 1."""
    path, velocity, spread, pairs = [], np.zeros_like(theta), np.full(len(theta), sigma), population // 2
    for k in range(steps):
        epsilon = [spread * z for z in normal(seed, k, pairs, len(theta))]
        ranks = centred_ranks(np.array([float(losses(k, theta + side * one)) for side in (1, -1) for one in epsilon]))
        up, down = ranks[:pairs], ranks[pairs:]
        estimate = sum((u - d) / 2 * one for u, d, one in zip(up, down, epsilon, strict=True))
        wider = sum((u + d) / 2 * (one**2 - spread**2) / spread for u, d, one in zip(up, down, epsilon, strict=True))
        length = np.linalg.norm(estimate)
        velocity = momentum * velocity + (lr * estimate / length if length else 0)
        speed = np.linalg.norm(velocity)
        if speed > max_velocity * lr:
            velocity = velocity * (max_velocity * lr / speed)
        theta = theta - velocity
        spread = np.clip(spread - lr_sigma * wider / pairs, 0.8 * spread, 1.2 * spread)
        path.append(theta)
    return path


def forward_gradient(
    theta: Array, gradients: object, layers: object, steps: int, *, losses: Losses, seed: int, lr: float
) -> list[Array]:
    """Baydin et al. 2022, algorithm 1: the derivative along v is exact, by a complex step."""
    path = []
    for k in range(steps):
        (v,) = normal(seed, k, 1, len(theta))
        slope = losses(k, theta + 1e-30j * v).imag / 1e-30
        theta = theta - lr * slope * v
        path.append(theta)
    return path


def followed(theirs: Any, weights: Array, losses: Losses, seed: int, steps: int) -> Iterator[Array]:
    """θ after each step of a strategy of `cmaes`; equal losses share their weights: it takes them in the order in which they come."""
    count, d = theirs.population_size, len(theirs.mean)
    by_rank = np.concatenate([weights, np.zeros(count - len(weights))])
    for k in range(steps):
        z = iter(normal(seed, k, count, d))
        theirs._rng = SimpleNamespace(randn=lambda _, given=z: next(given))
        asked = [theirs.ask() for _ in range(count)]
        values = [float(losses(k, place)) for place in asked]
        theirs._weights, theirs._mu = np.array(sorted(shared(values, by_rank), reverse=True)), count
        theirs.tell(list(zip(asked, values, strict=True)))
        yield theirs.mean.copy()


def shared(losses: Sequence[float], by_rank: Array) -> Array:
    """The weight of each; equal ones share the mean of theirs."""
    order = sorted(losses)
    own = {loss: np.mean([by_rank[place] for place, other in enumerate(order) if other == loss]) for loss in order}
    return np.array([own[loss] for loss in losses])


def centred_ranks(losses: Array) -> Array:
    """From −1/2 to 1/2; equal ones share the mean of their ranks."""
    order = sorted(losses)
    shared = {loss: np.mean([place for place, other in enumerate(order) if other == loss]) for loss in losses}
    return np.array([shared[loss] / (len(losses) - 1) - 0.5 for loss in losses])
