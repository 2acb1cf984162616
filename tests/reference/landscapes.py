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
LAYERS = (slice(0, 6), slice(6, 10), slice(10, PARAMETERS))
SHAPES = (((2, 2), (2,)), ((2, 2),), ((1, 2),))
"""Of each layer's weight, and bias if there is one."""
PARTS = (slice(0, 4), slice(4, 6), slice(6, 10), slice(10, PARAMETERS))
"""Of the small network: the first weight, its bias, the second weight, the last."""

_source = np.random.default_rng(20150420)
_basis = np.linalg.qr(_source.normal(size=(PARAMETERS, PARAMETERS)))[0]
CURVATURE = _basis @ np.diag(np.geomspace(0.01, 2.0, PARAMETERS)) @ _basis.T
MINIMUM = _source.normal(size=PARAMETERS)
NOISE = _source.normal(size=(STEPS, SAMPLES, PARAMETERS)) * 0.3
MEAN_NOISE = NOISE.mean(axis=1)


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


_inputs, _targets = _source.normal(size=(STEPS, SAMPLES, 2)), _source.normal(size=(STEPS, SAMPLES, 1))


def small_network(k: int, theta: Array) -> Array:
    """Two inputs, two tanh units with biases, two without, one output; a twentieth of the squared error. Layers as in LAYERS."""
    first, bias, second, last = (theta[..., part] for part in PARTS)
    first, second = (weight.reshape(*weight.shape[:-1], 2, 2) for weight in (first, second))
    below = np.tanh(times(first, _inputs[k]) + bias)
    above = np.tanh(times(second, below))
    error = 0.1 * ((above * last).sum(-1, keepdims=True) - _targets[k])
    delta = error * last * (1 - above**2)
    under = times(second.swapaxes(-1, -2), delta) * (1 - below**2)
    return np.concatenate([outer(under, _inputs[k]), under, outer(delta, below), error * above], axis=-1)


def times(weight: Array, x: Array) -> Array:
    product: Array = (weight * x[..., None, :]).sum(-1)
    return product


def outer(delta: Array, x: Array) -> Array:
    """Row by row, flat."""
    product = delta[..., :, None] * x[..., None, :]
    return product.reshape(*product.shape[:-2], -1)


def quadratic_loss(k: int, theta: Array) -> Array:
    off = theta - MINIMUM
    loss: Array = (off @ CURVATURE * off).sum(-1) / 2 + (theta * MEAN_NOISE[k]).sum(-1)
    return loss


def network_loss(k: int, theta: Array) -> Array:
    first, bias, second, last = (theta[..., None, part] for part in PARTS)
    first, second = (weight.reshape(*weight.shape[:-1], 2, 2) for weight in (first, second))
    output = (np.tanh(times(second, np.tanh(times(first, _inputs[k]) + bias))) * last).sum(-1)
    loss: Array = 0.05 * ((output - _targets[k][:, 0]) ** 2).mean(-1)
    return loss


LOSSES: dict[Callable[[int, Array], Array], Callable[[int, Array], Array]] = {
    noisy_quadratic: quadratic_loss,
    tiny: lambda k, theta: 1e-9 * quadratic_loss(k, theta),
    zero: lambda k, theta: np.zeros(theta.shape[:-1]),
    dying: lambda k, theta: quadratic_loss(k, theta) * (k < 20),
    sparse_layer: quadratic_loss,
    bursts: lambda k, theta: quadratic_loss(k, theta) * (30 if k % 17 == 16 else 1),
    small_network: network_loss,
}
"""Of a landscape: the mean over samples, of θ [..., P], [...]. A silent layer does not know of it."""


def quadratic_curvature(k: int, theta: Array) -> Array:
    return np.broadcast_to(np.diag(CURVATURE), (*theta.shape[:-1], SAMPLES, PARAMETERS)).copy()


def sparse_curvature(k: int, theta: Array) -> Array:
    diagonal = quadratic_curvature(k, theta)
    if k % 7 != 3:
        diagonal[..., LAYERS[1]] = 0
    return diagonal


def network_curvature(k: int, theta: Array) -> Array:
    """LeCun et al. 1998, section 7: as a gradient, with everything squared on the way and the loss's second derivative at the top."""
    first, bias, second, last = (theta[..., None, part] for part in PARTS)
    first, second = (weight.reshape(*weight.shape[:-1], 2, 2) for weight in (first, second))
    below = np.tanh(times(first, _inputs[k]) + bias)
    above = np.tanh(times(second, below))
    delta = 0.1 * last**2 * (1 - above**2) ** 2
    under = times((second**2).swapaxes(-1, -2), delta) * (1 - below**2) ** 2
    return np.concatenate(
        [outer(under, _inputs[k] ** 2), under, outer(delta, below**2), 0.1 * above**2 + 0 * last], axis=-1
    )


CURVATURES: dict[Callable[[int, Array], Array], Callable[[int, Array], Array]] = {
    noisy_quadratic: quadratic_curvature,
    tiny: lambda k, theta: 1e-9 * quadratic_curvature(k, theta),
    zero: lambda k, theta: 0 * quadratic_curvature(k, theta),
    dying: lambda k, theta: quadratic_curvature(k, theta) * (k < 20),
    sparse_layer: sparse_curvature,
    bursts: lambda k, theta: quadratic_curvature(k, theta) * (30 if k % 17 == 16 else 1),
    small_network: network_curvature,
}
"""Of a landscape: θ [..., P] -> the diagonal of each sample's Gauss-Newton matrix [..., n, P]."""

LANDSCAPES: dict[str, Callable[[int, Array], Array]] = {
    "noisy_quadratic": noisy_quadratic,
    "tiny": tiny,
    "zero": zero,
    "dying": dying,
    "sparse_layer": sparse_layer,
    "bursts": bursts,
    "small_network": small_network,
}

LENGTHS = (
    dict.fromkeys(LANDSCAPES, 40)
    | dict.fromkeys(("noisy_quadratic", "small_network", "sparse_layer"), STEPS)
    | {"zero": 10}
)
"""Steps in which rules are compared there."""
