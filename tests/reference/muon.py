"""Muon, from Jordan et al. 2024 (kellerjordan.github.io/posts/muon), its iteration in float64; AdamW elsewhere, from its paper."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reference.tensors import Shapes, tensors

Array = NDArray[np.float64]


def orthogonalised(u: Array) -> Array:
    if not u.any():
        return u
    x = u / np.linalg.norm(u)
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    return x


def trajectory(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: Shapes,
    lr: float,
    momentum: float,
    nesterov: bool,
    adam_ratio: float,
    betas: list[float],
    eps: float,
    weight_decay: float,
) -> list[Array]:
    theta, adam_lr = theta.copy(), lr * adam_ratio
    m, v, buffer = (np.zeros_like(theta) for _ in range(3))
    path = []
    for k in range(1, steps + 1):
        g = gradients(k - 1, theta).mean(axis=0)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        buffer = momentum * buffer + (1 - momentum) * g
        u = (1 - momentum) * g + momentum * buffer if nesterov else buffer
        root = np.maximum(np.sqrt(v / (1 - betas[1] ** k)) + eps, np.finfo(np.float64).tiny)
        after = (1 - adam_lr * weight_decay) * theta - adam_lr * m / (1 - betas[0] ** k) / root
        for weight, shape in tensors(layers[1:-1], shapes[1:-1]):
            if len(shape) == 2:
                move = np.sqrt(max(1, shape[0] / shape[1])) * orthogonalised(u[weight].reshape(shape)).ravel()
                after[weight] = (1 - lr * weight_decay) * theta[weight] - lr * move
        theta = after
        path.append(theta.copy())
    return path
