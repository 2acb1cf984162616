"""vSGD-l, -b and -g, from Schaul, Zhang & LeCun 2013 (arXiv:1206.1106), algorithm 1, one block of weights after the other.

For batches of n the paper's ratio ‖ḡ‖²/l̄ becomes n‖ḡ‖²/(l̄ + (n − 1)‖ḡ‖²); n₀ steps are collected before the first move, and then l̄ and
h̄ multiplied by C.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
OfStep = Callable[[int, Array], Array]


def local(
    theta: Array, gradients: OfStep, layers: tuple[slice, ...], steps: int, *, curvatures: OfStep, **hyper: float
) -> list[Array]:
    return by_blocks([[i] for i in range(len(theta))], theta, gradients, steps, curvatures, **hyper)


def by_layer(
    theta: Array, gradients: OfStep, layers: tuple[slice, ...], steps: int, *, curvatures: OfStep, **hyper: float
) -> list[Array]:
    blocks = [list(range(layer.start, layer.stop)) for layer in layers]
    return by_blocks(blocks, theta, gradients, steps, curvatures, **hyper)


def of_all(
    theta: Array, gradients: OfStep, layers: tuple[slice, ...], steps: int, *, curvatures: OfStep, **hyper: float
) -> list[Array]:
    return by_blocks([list(range(len(theta)))], theta, gradients, steps, curvatures, **hyper)


def by_blocks(
    blocks: list[list[int]],
    theta: Array,
    gradients: OfStep,
    steps: int,
    curvatures: OfStep,
    *,
    eps: float,
    slow_start: float,
    c: float,
) -> list[Array]:
    theta = theta.copy()
    g_bar, h_bar = np.zeros_like(theta), np.zeros_like(theta)
    l_bar, tau = [0.0] * len(blocks), [1.0] * len(blocks)
    path = []
    for k in range(1, steps + 1):
        samples, h = gradients(k - 1, theta), curvatures(k - 1, theta).mean(axis=0)
        n, g = len(samples), samples.mean(axis=0)
        for b, block in enumerate(blocks):
            if k <= slow_start:
                tau[b] = k
            r = 1 / tau[b]
            g_bar[block] = (1 - r) * g_bar[block] + r * g[block]
            l_bar[b] = (1 - r) * l_bar[b] + r * float((samples[:, block] ** 2).sum(axis=1).mean())
            h_bar[block] = (1 - r) * h_bar[block] + r * np.maximum(h[block], eps)
            if k == slow_start:
                l_bar[b] *= c
                h_bar[block] *= c
            if k <= slow_start:
                continue
            squared = float((g_bar[block] ** 2).sum())
            below = l_bar[b] + (n - 1) * squared
            signal = n * squared / below if below > 0 else 0.0
            theta[block] -= signal / h_bar[block].max() * g[block]
            tau[b] = (1 - signal) * tau[b] + 1
        path.append(theta.copy())
    return path
