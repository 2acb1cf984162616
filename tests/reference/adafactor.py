"""Adafactor, from Shazeer & Stern 2018 (arXiv:1804.04235), algorithms 4 (matrices), 5 (vectors) and 6; weight decay as torch has it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reference.tensors import Shapes, tensors

Array = NDArray[np.float64]


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def trajectory(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: Shapes,
    lr: float,
    eps1: float,
    eps2: float,
    d: float,
    weight_decay: float,
) -> list[Array]:
    theta = theta.copy()
    parts = tensors(layers, shapes)
    rows = [np.zeros(shape[0]) for _, shape in parts]
    columns = [np.zeros(shape[-1]) for _, shape in parts]
    path = []

    def moved(x: Array, g: Array, v: Array, t: int) -> Array:
        u = g / np.sqrt(v)
        alpha = max(eps2, rms(x)) * min(lr, 1 / np.sqrt(t))
        there: Array = x - lr * weight_decay * x - alpha * u / max(1, rms(u) / d)
        return there

    for t in range(1, steps + 1):
        g = gradients(t - 1, theta).mean(axis=0)
        b = 1 - t**-0.8
        for place, (at, shape) in enumerate(parts):
            own = g[at].reshape(shape)
            if len(shape) == 1:
                v = rows[place] = b * rows[place] + (1 - b) * (own**2 + eps1)
            else:
                rows[place] = b * rows[place] + (1 - b) * (own**2 + eps1).sum(axis=1)
                columns[place] = b * columns[place] + (1 - b) * (own**2 + eps1).sum(axis=0)
                v = np.outer(rows[place], columns[place]) / rows[place].sum()
            theta[at] = moved(theta[at].reshape(shape), own, v, t).ravel()
        path.append(theta.copy())
    return path
