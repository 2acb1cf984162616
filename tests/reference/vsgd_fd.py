"""vSGD-fd, from Schaul, Zhang & LeCun (arXiv:1206.1106) and Schaul & LeCun (arXiv:1301.3764), with the batch's own curvature.

The papers measure h for each sample; here it is one value a step, from the batch's mean gradient at two points. The probe is at
least `probe_scale` of the layer's weights long, the first one is along the gradient itself, and a deviation below 1e-6 of
an average is no outlier. θ + probe − θ is taken as the machine rounds it; where that is 0, or leaves the gradient as it was,
there is no h.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Averages:
    """Of one parameter."""

    g: float = 0.0
    g_squared: float = 0.0
    h: float = 0.0
    h_squared: float = 0.0
    memory: float = 0.0


def trajectory(
    theta: Array,
    gradients: Callable[[int, Array], Array],
    layers: tuple[slice, ...],
    steps: int,
    *,
    eps: float,
    slow_start: float,
    c: float,
    probe_scale: float,
) -> list[Array]:
    theta = theta.copy()
    averages = [Averages() for _ in theta]
    path = []
    for k in range(1, steps + 1):
        samples = gradients(k - 1, theta)
        direction = samples.mean(axis=0) if k == 1 else np.array([a.g for a in averages])
        probed = theta + probe(theta, direction, layers, probe_scale)
        here, there = samples.mean(axis=0), gradients(k - 1, probed).mean(axis=0)
        for i, a in enumerate(averages):
            displacement = abs(probed[i] - theta[i])
            h = None
            if displacement > 0 and there[i] != here[i]:
                h = min(max(abs(there[i] - here[i]) / displacement, eps), 1 / eps)
            if k <= slow_start:
                a.memory = k
                average(a, samples[:, i], h)
                if k == slow_start:
                    a.g_squared *= c
                    a.h *= c
                    a.h_squared *= c**2
                continue
            if is_outlier(a, here[i], h, len(samples)):
                a.memory += 1
            average(a, samples[:, i], h)
            signal = signal_share(a, len(samples))
            if a.h_squared > 0:
                theta[i] -= a.h / a.h_squared * signal * here[i]
            a.memory = (1 - signal) * a.memory + 1
        path.append(theta.copy())
    return path


def probe(theta: Array, direction: Array, layers: tuple[slice, ...], probe_scale: float) -> Array:
    displacement = np.zeros_like(theta)
    for layer in layers:
        weights, along = theta[layer], direction[layer]
        length = math.sqrt((along**2).mean())
        if length > 0:
            wanted = probe_scale * math.sqrt((weights**2).mean())
            displacement[layer] = along * max(1.0, wanted / length)
    return displacement


def is_outlier(a: Averages, g: float, h: float | None, n: int) -> bool:
    if deviates(g, a.g, max(a.g_squared - a.g**2, 0.0) / n):
        return True
    return h is not None and deviates(h, a.h, max(a.h_squared - a.h**2, 0.0))


def deviates(value: float, mean: float, variance: float) -> bool:
    return abs(value - mean) - 1e-6 * abs(mean) > 2 * math.sqrt(variance)


def average(a: Averages, g: Array, h: float | None) -> None:
    r = 1 / a.memory
    a.g = (1 - r) * a.g + r * float(g.mean())
    a.g_squared = (1 - r) * a.g_squared + r * float((g**2).mean())
    if h is not None:
        a.h = (1 - r) * a.h + r * h
        a.h_squared = (1 - r) * a.h_squared + r * h**2


def signal_share(a: Averages, n: int) -> float:
    """n·ḡ²/(v̄ + (n−1)·ḡ²), 0 where there was never a gradient."""
    below = a.g_squared + (n - 1) * a.g**2
    return n * a.g**2 / below if below > 0 else 0.0
