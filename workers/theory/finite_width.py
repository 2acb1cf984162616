"""What a finite width n adds, to first order in 1/n: norms of a deep product of random matrices scatter, and their typical value falls.

The relative variances of the layers add up (Hanin & Nica 2020, theorem 1; Hanin 2018 for rectifiers).
"""

from math import log, sqrt
from typing import NamedTuple

from workers.theory.tabulated import Tabulated


class Spread(NamedTuple):
    """Of log₁₀ of a norm, over draws of the weights, for a single sample."""

    shift: float
    """Typical value minus mean-field value: E log X ≈ log E X − ½ Var X/(E X)²."""
    deviation: float
    """Standard deviation."""


def backward_variance(theta: Tabulated, q: float, width: int, *, orthogonal: bool = False) -> float:
    """Relative variance that one layer adds to ‖δ‖²: (3 E[θ′⁴]/E[θ′²]² − 1)/n; −3 for −1 with orthogonal weights, which keep norms."""
    return max(0.0, 3 * theta.kurtosis(q)[1] - (3 if orthogonal else 1)) / width


def forward_variance(theta: Tabulated, q: float, width: int, *, orthogonal: bool = False) -> float:
    """Relative variance that one layer adds to ‖z‖²: (E[θ⁴]/E[θ²]² − 1)/n, and 2/n of the weights' own unless orthogonal."""
    return max(0.0, theta.kurtosis(q)[0] - 1 + (0 if orthogonal else 2)) / width


def spread(relative_variance: float) -> Spread:
    """From the layers' summed relative variances of a squared norm to decades of the norm."""
    half_decades = 0.5 / log(10)
    return Spread(-0.5 * relative_variance * half_decades, sqrt(relative_variance) * half_decades)
