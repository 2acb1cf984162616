"""Gradient-free rules, one trial and one candidate at a time, written from their papers."""

from collections.abc import Callable
from functools import cache

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


def centred_ranks(losses: Array) -> Array:
    """From −1/2 to 1/2; equal ones share the mean of their ranks."""
    order = sorted(losses)
    shared = {loss: np.mean([place for place, other in enumerate(order) if other == loss]) for loss in losses}
    return np.array([shared[loss] / (len(losses) - 1) - 0.5 for loss in losses])
