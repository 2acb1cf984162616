"""Rprop−, Rprop+ and iRprop+, from Igel & Hüsken 2000, figures 1, 2 and 4; one weight at a time, remembering the last move as made."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def minus(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    lr: float,
    eta_minus: float,
    eta_plus: float,
    step_min: float,
    step_max: float,
) -> list[Array]:
    theta = theta.copy()
    size, before = [lr] * len(theta), [0.0] * len(theta)
    path = []
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        for i in range(len(theta)):
            if g[i] * before[i] > 0:
                size[i] = min(size[i] * eta_plus, step_max)
            elif g[i] * before[i] < 0:
                size[i] = max(size[i] * eta_minus, step_min)
            size[i] = min(max(size[i], step_min), step_max)
            theta[i] -= np.sign(g[i]) * size[i]
            before[i] = g[i]
        path.append(theta.copy())
    return path


def plus(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    lr: float,
    eta_minus: float,
    eta_plus: float,
    step_min: float,
    step_max: float,
) -> list[Array]:
    theta = theta.copy()
    size, before, move = [lr] * len(theta), [0.0] * len(theta), [0.0] * len(theta)
    path = []
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        for i in range(len(theta)):
            if g[i] * before[i] < 0:
                size[i] = max(size[i] * eta_minus, step_min)
                theta[i] -= move[i]
                before[i] = 0.0
                continue
            if g[i] * before[i] > 0:
                size[i] = min(size[i] * eta_plus, step_max)
            size[i] = min(max(size[i], step_min), step_max)
            move[i] = -np.sign(g[i]) * size[i]
            theta[i] += move[i]
            before[i] = g[i]
        path.append(theta.copy())
    return path


def improved_plus(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    losses: Callable[[int, Array], Array],
    lr: float,
    eta_minus: float,
    eta_plus: float,
    step_min: float,
    step_max: float,
) -> list[Array]:
    theta = theta.copy()
    size, before, move = [lr] * len(theta), [0.0] * len(theta), [0.0] * len(theta)
    loss_before = np.inf
    path = []
    for k in range(steps):
        g, loss = gradients(k, theta).mean(axis=0), float(losses(k, theta))
        for i in range(len(theta)):
            if g[i] * before[i] < 0:
                size[i] = max(size[i] * eta_minus, step_min)
                if loss > loss_before:
                    theta[i] -= move[i]
                before[i] = 0.0
                continue
            if g[i] * before[i] > 0:
                size[i] = min(size[i] * eta_plus, step_max)
            size[i] = min(max(size[i], step_min), step_max)
            move[i] = -np.sign(g[i]) * size[i]
            theta[i] += move[i]
            before[i] = g[i]
        loss_before = loss
        path.append(theta.copy())
    return path
