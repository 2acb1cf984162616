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
    """Exactly zero after a third of the way."""
    return noisy_quadratic(k, theta) if k < STEPS // 3 else zero(k, theta)


def sparse_layer(k: int, theta: Array) -> Array:
    """The second layer speaks in every seventh step only, the first time in the fourth."""
    gradient = noisy_quadratic(k, theta)
    if k % 7 != 3:
        gradient[..., LAYERS[1]] = 0
    return gradient


def bursts(k: int, theta: Array) -> Array:
    """Every seventeenth batch is thirty times as large, and as curved."""
    return noisy_quadratic(k, theta) * (30.0 if k % 17 == 16 else 1.0)


LANDSCAPES: dict[str, Callable[[int, Array], Array]] = {
    "noisy_quadratic": noisy_quadratic,
    "tiny": tiny,
    "zero": zero,
    "dying": dying,
    "sparse_layer": sparse_layer,
    "bursts": bursts,
}

LENGTHS = dict.fromkeys(LANDSCAPES, 60) | {"noisy_quadratic": STEPS, "sparse_layer": STEPS}
"""Steps in which rules are compared there."""
