"""D-Adaptation for SGD, from Defazio & Mishchenko 2023 (arXiv:2301.07733), algorithm 4, with coupled weight decay.

pytorch_optimizer's DAdaptSGD is the same, but rounds the first gradient's norm to float32.
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
    momentum: float,
    d0: float,
    weight_decay: float,
) -> list[Array]:
    x, x0, s = theta.copy(), theta.copy(), np.zeros_like(theta)
    d, numerator, first = d0, 0.0, 0.0
    path = []
    for k in range(steps):
        g = gradients(k, x).mean(axis=0)
        first = first or float(np.linalg.norm(g))
        if first:
            g = g + weight_decay * x
            rate = d * lr / first
            numerator += rate * float(g @ s)
            s = s + rate * g
            if s.any():
                d = max(d, 2 * numerator / float(np.linalg.norm(s)))
            x = momentum * x + (1 - momentum) * (x0 - s)
        path.append(x.copy())
    return path
