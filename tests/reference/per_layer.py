"""Rules that measure each layer as a whole, from their papers; one row, one layer after the other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def quotient(numerator: float, denominator: float) -> float:
    return numerator / denominator if numerator and denominator else 1.0


def normalized_gradient(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> list[Array]:
    """Cutkosky & Mehta 2020, algorithm 1, in each layer."""
    theta, m = theta.copy(), np.zeros_like(theta)
    path = []
    for k in range(steps):
        m = momentum * m + (1 - momentum) * gradients(k, theta).mean(axis=0)
        theta = theta - lr * weight_decay * theta
        for layer in layers:
            length = np.linalg.norm(m[layer])
            if length > 0:
                theta[layer] -= lr * m[layer] / length
        path.append(theta.copy())
    return path


def lamb(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    lr: float,
    betas: list[float],
    eps: float,
    weight_decay: float,
) -> list[Array]:
    """You et al. 2020, algorithm 2."""
    theta, m, v = theta.copy(), np.zeros_like(theta), np.zeros_like(theta)
    path = []
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        r = m / (1 - betas[0] ** (k + 1)) / (np.sqrt(v / (1 - betas[1] ** (k + 1))) + eps)
        for layer in layers:
            u = r[layer] + weight_decay * theta[layer]
            trust = quotient(float(np.linalg.norm(theta[layer])), float(np.linalg.norm(u)))
            theta[layer] -= lr * trust * u
        path.append(theta.copy())
    return path
