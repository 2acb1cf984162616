"""The normalised gradient of single units, from Yu et al. 2017 (arXiv:1707.04822); one row, one unit after the other."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reference.tensors import Shapes, tensors

Array = NDArray[np.float64]


def normalized_gradient(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: Shapes,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> list[Array]:
    theta, m = theta.copy(), np.zeros_like(theta)
    units: list[list[int]] = []
    rows: list[list[int]] = []
    for at, shape in tensors(layers, shapes):
        places = list(range(at.start, at.stop))
        if len(shape) == 2:
            rows = [places[unit * shape[1] : (unit + 1) * shape[1]] for unit in range(shape[0])]
            units += rows
        elif len(places) == len(rows):  # a bias: the first vector behind the matrix
            for row, place in zip(rows, places, strict=True):
                row.append(place)
            rows = []
        else:
            units.append(places)
            rows = []
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
