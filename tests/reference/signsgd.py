"""signSGD, from Bernstein et al. 2018 (arXiv:1802.04434), algorithm 1, with decoupled weight decay."""

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
    weight_decay: float,
) -> list[Array]:
    theta = theta.copy()
    path = []
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        for i in range(len(theta)):
            sign = 1.0 if g[i] > 0 else -1.0 if g[i] < 0 else 0.0
            theta[i] = theta[i] - lr * weight_decay * theta[i] - lr * sign
        path.append(theta.copy())
    return path
