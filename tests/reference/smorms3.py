"""SMORMS3, from S. Funk, sifter.org, 20 April 2015."""

import math
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
    eps: float,
) -> list[Array]:
    theta = theta.copy()
    memory = [1.0] * len(theta)
    mean = [0.0] * len(theta)
    mean_square = [0.0] * len(theta)
    path = []
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        for i in range(len(theta)):
            r = 1 / (memory[i] + 1)
            mean[i] = (1 - r) * mean[i] + r * g[i]
            mean_square[i] = (1 - r) * mean_square[i] + r * g[i] ** 2
            x = mean[i] ** 2 / (mean_square[i] + eps)
            theta[i] -= g[i] * min(x, lr) / (math.sqrt(mean_square[i]) + eps)
            memory[i] = 1 + memory[i] * (1 - x)
        path.append(theta.copy())
    return path
