"""Sophia: pytorch_optimizer's arithmetic (SophiaH with p = 1), given γ times the diagonal of the Gauss-Newton matrix every k-th step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_optimizer
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
OfStep = Callable[[int, Array], Array]


def trajectory(
    theta: Array,
    gradients: OfStep,
    layers: tuple[slice, ...],
    steps: int,
    *,
    curvatures: OfStep,
    gamma: float,
    update_period: int,
    **hyper: Any,
) -> list[Array]:
    place = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    optimizer = pytorch_optimizer.SophiaH([place], p=1.0, update_period=steps + 1, **hyper)
    path = []
    for k in range(steps):
        here = place.detach().numpy().copy()
        place.grad = torch.from_numpy(gradients(k, here).mean(axis=0))
        due = k % update_period == 0
        told = [gamma * torch.from_numpy(curvatures(k, here).mean(axis=0))] if due else None
        optimizer.step(hessian=told)
        path.append(place.detach().numpy().copy())
    return path
