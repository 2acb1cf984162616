"""Adafactor, from Shazeer & Stern 2018 (arXiv:1804.04235), algorithms 4 (matrices), 5 (vectors) and 6; weight decay as torch has it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def trajectory(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: tuple[tuple[int, int, bool], ...],
    lr: float,
    eps1: float,
    eps2: float,
    d: float,
    weight_decay: float,
) -> list[Array]:
    theta = theta.copy()
    rows = [np.zeros(out) for out, _, _ in shapes]
    columns = [np.zeros(into) for _, into, _ in shapes]
    biases = [np.zeros(out) for out, _, _ in shapes]
    path = []

    def moved(x: Array, g: Array, v: Array, t: int) -> Array:
        u = g / np.sqrt(v)
        alpha = max(eps2, rms(x)) * min(lr, 1 / np.sqrt(t))
        there: Array = x - lr * weight_decay * x - alpha * u / max(1, rms(u) / d)
        return there

    for t in range(1, steps + 1):
        g = gradients(t - 1, theta).mean(axis=0)
        b = 1 - t**-0.8
        for place, (layer, (out, into, bias)) in enumerate(zip(layers, shapes, strict=True)):
            middle = layer.start + out * into
            weight, own = (x[layer.start : middle].reshape(out, into) for x in (theta, g))
            rows[place] = b * rows[place] + (1 - b) * (own**2 + eps1).sum(axis=1)
            columns[place] = b * columns[place] + (1 - b) * (own**2 + eps1).sum(axis=0)
            v = np.outer(rows[place], columns[place]) / rows[place].sum()
            theta[layer.start : middle] = moved(weight, own, v, t).ravel()
            if bias:
                own = g[middle : layer.stop]
                biases[place] = b * biases[place] + (1 - b) * (own**2 + eps1)
                theta[middle : layer.stop] = moved(theta[middle : layer.stop], own, biases[place], t)
        path.append(theta.copy())
    return path
