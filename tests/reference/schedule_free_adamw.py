"""Schedule-free AdamW, from Defazio et al. 2024 (arXiv:2405.15682), algorithm 1, for a constant learning rate without warm-up.

pytorch_optimizer's is the same but for 1e-15 under the root, a second eps, which cuts gradients off below 3e-8 whatever eps is.
"""

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
    weight_decay: float,
) -> list[Array]:
    x, z, v = theta.copy(), theta.copy(), np.zeros_like(theta)
    path = []
    for k in range(steps):
        y = (1 - betas[0]) * z + betas[0] * x
        g = gradients(k, y).mean(axis=0)
        v = betas[1] * v + (1 - betas[1]) * g**2
        z = z - lr * (g / (np.sqrt(v / (1 - betas[1] ** (k + 1))) + eps) + weight_decay * y)
        x = x + (z - x) / (k + 1)
        path.append(x.copy())
    return path
