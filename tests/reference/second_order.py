"""Shampoo, SOAP and L-BFGS, one matrix after another: roots by eigenvectors, the two loops as in the book."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reference.tensors import Shapes, tensors

Array = NDArray[np.float64]
OfStep = Callable[[int, Array], Array]


def root(a: Array, power: float, ridge: float) -> Array:
    if not a.any():
        return a
    values, vectors = np.linalg.eigh(a + ridge * np.linalg.norm(a) * np.eye(len(a)))
    found: Array = vectors @ np.diag(values**power) @ vectors.T
    return found


def shampoo(
    theta: Array,
    gradients: OfStep,
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: Shapes,
    lr: float,
    momentum: float,
    eps: float,
    weight_decay: float,
) -> list[Array]:
    theta, buffer, path = theta.copy(), np.zeros_like(theta), []
    sums: dict[int, list[Array]] = {}
    for k in range(steps):
        g, u = gradients(k, theta).mean(axis=0), np.zeros_like(theta)
        for columns, shape in tensors(layers, shapes):
            own = g[columns].reshape(shape)
            if len(shape) == 1:
                (square,) = sums.setdefault(columns.start, [np.zeros(shape)])
                square += own**2
                u[columns] = own / np.sqrt(np.where(square > 0, square, 1))
            else:
                left, right = sums.setdefault(columns.start, [np.zeros((size, size)) for size in shape])
                left += own @ own.T
                right += own.T @ own
                u[columns] = (root(left, -1 / 4, eps) @ own @ root(right, -1 / 4, eps)).ravel()
        buffer = momentum * buffer + u
        theta = (1 - lr * weight_decay) * theta - lr * buffer
        path.append(theta.copy())
    return path


def basis_after(a: Array, q: Array) -> Array:
    if not a.any():
        return q
    found, r = np.linalg.qr((a + 1e-6 * np.linalg.norm(a) * np.eye(len(a))) @ q)
    after: Array = found * np.where(np.diag(r) < 0, -1, 1)
    return after


def soap(
    theta: Array,
    gradients: OfStep,
    layers: tuple[slice, ...],
    steps: int,
    *,
    shapes: Shapes,
    lr: float,
    betas: list[float],
    eps: float,
    weight_decay: float,
) -> list[Array]:
    theta, path = theta.copy(), []
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    kept: dict[int, list[Array]] = {}
    for t in range(1, steps + 1):
        g, move = gradients(t - 1, theta).mean(axis=0), np.zeros_like(theta)
        m = betas[0] * m + (1 - betas[0]) * g
        for columns, shape in tensors(layers, shapes):
            rows, across = (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
            own, mean = (x[columns].reshape(rows, across) for x in (g, m))
            left, right, p, q = kept.setdefault(
                columns.start, [np.zeros((rows, rows)), np.zeros((across, across)), np.eye(rows), np.eye(across)]
            )
            v[columns] = betas[1] * v[columns] + (1 - betas[1]) * ((p.T @ own @ q) ** 2).ravel()
            below = np.maximum(np.sqrt(v[columns] / (1 - betas[1] ** t)) + eps, np.finfo(np.float64).tiny)
            turned = (p.T @ mean @ q) / (1 - betas[0] ** t) / below.reshape(rows, across)
            move[columns] = (p @ turned @ q.T).ravel()
            if len(shape) == 2:
                left = betas[1] * left + (1 - betas[1]) * own @ own.T
                right = betas[1] * right + (1 - betas[1]) * own.T @ own
                kept[columns.start] = [left, right, basis_after(left, p), basis_after(right, q)]
        theta = (1 - lr * weight_decay) * theta - lr * move
        path.append(theta.copy())
    return path


def lbfgs(theta: Array, gradients: OfStep, layers: tuple[slice, ...], steps: int, *, lr: float) -> list[Array]:
    theta, path = theta.copy(), []
    pairs: list[tuple[Array, Array]] = []
    before, s = np.zeros_like(theta), np.zeros_like(theta)
    for k in range(steps):
        g = gradients(k, theta).mean(axis=0)
        y = g - before
        if k and s @ y > 1e-10 * np.linalg.norm(s) * np.linalg.norm(y):
            pairs = [*pairs, (s, y)][-10:]
        q, along = g.copy(), []
        for old, change in reversed(pairs):
            along.append((old @ q) / (old @ change))
            q -= along[-1] * change
        if pairs:
            newest, change = pairs[-1]
            d = -q * (newest @ change) / (change @ change)
            for (old, change), a in zip(pairs, reversed(along), strict=True):
                d -= old * (a + (change @ d) / (old @ change))
        else:
            d = -g / np.abs(g).sum() if g.any() else 0 * g
        before, s = g, lr * d
        theta = theta + s
        path.append(theta.copy())
    return path
