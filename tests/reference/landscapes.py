"""Gradients to follow: each a function of (step from 0, θ [P]) -> [n, P], one gradient for each of n samples; θ may be [R, 1, P]
for the gradients [R, n, P] of many rows at once.

Not convex toys only: what makes rules differ is noise, exact zeros, layers that are silent most of the time, gradients below
eps, and outliers.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEPS, SAMPLES, PARAMETERS = 200, 8, 12
LAYERS = (slice(0, 7), slice(7, PARAMETERS))

_source = np.random.default_rng(20150420)
_basis = np.linalg.qr(_source.normal(size=(PARAMETERS, PARAMETERS)))[0]
CURVATURE = _basis @ np.diag(np.geomspace(0.01, 2.0, PARAMETERS)) @ _basis.T
MINIMUM = _source.normal(size=PARAMETERS)
NOISE = _source.normal(size=(STEPS, SAMPLES, PARAMETERS)) * 0.3


def noisy_quadratic(k: int, theta: Array) -> Array:
    gradient: Array = (theta - MINIMUM) @ CURVATURE + NOISE[k]
    return gradient


def tiny(k: int, theta: Array) -> Array:
    """Below the usual eps."""
    return noisy_quadratic(k, theta) * 1e-9


def zero(k: int, theta: Array) -> Array:
    return np.zeros((*theta.shape[:-2], SAMPLES, PARAMETERS))


def dying(k: int, theta: Array) -> Array:
    """Exactly zero from the twentieth step on."""
    return noisy_quadratic(k, theta) if k < 20 else zero(k, theta)


def sparse_layer(k: int, theta: Array) -> Array:
    """The second layer speaks in every seventh step only, the first time in the fourth."""
    gradient = noisy_quadratic(k, theta)
    if k % 7 != 3:
        gradient[..., LAYERS[1]] = 0
    return gradient


def bursts(k: int, theta: Array) -> Array:
    """Every seventeenth batch is thirty times as large, and as curved."""
    return noisy_quadratic(k, theta) * (30.0 if k % 17 == 16 else 1.0)


_inputs, _targets = _source.normal(size=(STEPS, SAMPLES, 6)), _source.normal(size=(STEPS, SAMPLES, 4))


def small_network(k: int, theta: Array) -> Array:
    """Six inputs, one tanh unit with a bias, four outputs that share a bias; a twentieth of the squared error. Layers as in LAYERS."""
    w, b, v, c = theta[..., :6], theta[..., 6:7], theta[..., 7:11], theta[..., 11:]
    h = np.tanh((_inputs[k] * w).sum(-1, keepdims=True) + b)
    error = 0.1 * (h * v + c - _targets[k])
    delta = (error * v).sum(-1, keepdims=True) * (1 - h**2)
    return np.concatenate([delta * _inputs[k], delta, error * h, error.sum(-1, keepdims=True)], axis=-1)


LANDSCAPES: dict[str, Callable[[int, Array], Array]] = {
    "noisy_quadratic": noisy_quadratic,
    "tiny": tiny,
    "zero": zero,
    "dying": dying,
    "sparse_layer": sparse_layer,
    "bursts": bursts,
    "small_network": small_network,
}

LENGTHS = dict.fromkeys(LANDSCAPES, 40) | {"noisy_quadratic": STEPS, "zero": 10}
"""Steps in which rules are compared there."""
