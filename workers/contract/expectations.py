"""Expectations over a standard normal pre-activation, with the standard library alone."""

import heapq
import math
from collections.abc import Callable

from workers.contract.expressions import FLOATS, Expression, compiled, size

REACH = 12
"""Where the integral ends; the normal density there is 2e-32."""
TOLERANCE = 1e-12
"""Of an expectation, relative to that of the absolute value."""
WORK = 30_000
"""Operations that an expectation may take, so that no formula takes long."""
NODES = (0.1834346424956498, 0.525532409916329, 0.7966664774136267, 0.9602898564975363)
WEIGHTS = (0.362683783378362, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763)
"""Gauss–Legendre, eight points on [−1, 1], the positive half (Abramowitz & Stegun, table 25.4)."""

Function = Callable[[float], float]


def moments(theta: Expression) -> tuple[float, float]:
    """Mean and standard deviation of θ(z) for z ~ N(0, 1).

    Raises:
        ArithmeticError: if θ is constant, not finite, grows so fast that it has no variance, or cannot be resolved.
    """
    value, panels = compiled(theta, FLOATS), WORK // (16 * size(theta))
    ends = [value(z) * math.sqrt(_density(z)) for z in (-REACH, REACH)]
    mean = expectation(value, panels)
    variance = expectation(lambda z: (value(z) - mean) ** 2, panels) if math.isfinite(mean) else mean
    if not math.isfinite(variance) or max(map(abs, ends)) ** 2 > 1e-9 * variance > 0:
        raise ArithmeticError(
            "the non-linearity has no variance for a normal pre-activation: it grows too fast, or has gaps"
        )
    if variance <= 1e-24 * mean * mean:
        raise ArithmeticError("the non-linearity is constant for a normal pre-activation, so it has no scale")
    return mean, math.sqrt(variance)


def expectation(f: Function, panels: int) -> float:
    """E f(z) for z ~ N(0, 1). The worst panel is halved, and so on: Gauss–Hermite would smear a kink over its whole range.

    Args:
        f: of one float; infinity and NaN are passed on.
        panels: that may be halved.

    Raises:
        ArithmeticError: if so many do not resolve it to a millionth.
    """

    def weighed(z: float) -> float:
        try:
            return f(z) * _density(z)
        except OverflowError:
            return math.inf

    def halved(low: float, high: float, whole: float) -> tuple[float, float, float, float, float]:
        """(−error, both ends, the integral over each half)."""
        middle = (low + high) / 2
        left, right = _panel(weighed, low, middle), _panel(weighed, middle, high)
        return -abs(left + right - whole), low, high, left, right

    found = [halved(low, low + 1, _panel(weighed, low, low + 1)) for low in range(-REACH, REACH)]
    scale = sum(abs(left) + abs(right) for *_, left, right in found)
    if not math.isfinite(scale):
        return math.nan
    heapq.heapify(found)
    error = -sum(entry[0] for entry in found)
    for _ in range(panels):
        if error <= TOLERANCE * scale:
            break
        worst, low, high, left, right = heapq.heappop(found)
        middle = (low + high) / 2
        for half in (halved(low, middle, left), halved(middle, high, right)):
            heapq.heappush(found, half)
            error -= half[0]
        error += worst
    else:
        if error > 1e-6 * scale:
            raise ArithmeticError("the non-linearity changes too fast to find its mean for a normal pre-activation")
    return math.fsum(left + right for *_, left, right in found)


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _panel(f: Function, low: float, high: float) -> float:
    centre, half = (low + high) / 2, (high - low) / 2
    pairs = zip(NODES, WEIGHTS, strict=True)
    return half * sum(weight * (f(centre - half * node) + f(centre + half * node)) for node, weight in pairs)
