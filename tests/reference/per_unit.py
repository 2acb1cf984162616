"""The normalised gradient of single units, from Yu et al. 2017 (arXiv:1707.04822); one row, one unit after the other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def normalized_gradient(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: tuple[tuple[int, int, bool], ...],
    lr: float,
    momentum: float,
    weight_decay: float,
) -> list[Array]:
    theta, m = theta.copy(), np.zeros_like(theta)
    units: list[list[int]] = []
    for layer, (out, into, bias) in zip(layers, shapes, strict=True):
        for unit in range(out):
            incoming = [layer.start + unit * into + place for place in range(into)]
            units.append([*incoming, layer.start + out * into + unit] if bias else incoming)
    path = []
    for k in range(steps):
        m = momentum * m + (1 - momentum) * gradients(k, theta).mean(axis=0)
        theta = (1 - lr * weight_decay) * theta
        for own in units:
            length = np.linalg.norm(m[own])
            if length > 0:
                theta[own] -= lr * m[own] / length
        path.append(theta.copy())
    return path
