"""Yogi, from Zaheer et al. 2018, algorithm 2, with decoupled weight decay."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def trajectory(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    lr: float,
    betas: list[float],
    eps: float,
    initial_accumulator: float,
    weight_decay: float,
) -> list[Array]:
    theta = theta.copy()
    m, v = [0.0] * len(theta), [initial_accumulator] * len(theta)
    path = []
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        for i in range(len(theta)):
            m[i] = betas[0] * m[i] + (1 - betas[0]) * g[i]
            square = g[i] * g[i]
            v[i] = v[i] - (1 - betas[1]) * np.sign(v[i] - square) * square
            theta[i] = theta[i] - lr * weight_decay * theta[i] - lr * m[i] / (np.sqrt(v[i]) + eps)
        path.append(theta.copy())
    return path
