"""Mean-field theory of a wide network: z^l = W θ(z^{l−1}) + b, with Var W = σw²/fan_in and Var b = σb².

Rates are of squared norms, a layer at a time. Poole et al. 2016; Schoenholz et al. 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, log10

import numpy as np
from scipy.optimize import brentq

from workers.theory.tabulated import DEGREE, Numbers, Tabulated, within

Q_LOW, Q_HIGH = 1e-14, 1e6
"""Where a fixed point of the variance is sought; below it counts as zero, above as infinite."""


def length_map(theta: Tabulated, q: float, sigma_w: float, sigma_b: float = 0.0) -> float:
    """q_{l+1} = σw² E[θ(√q z)²] + σb², the variance of a pre-activation (Poole et al. 2016, eq. 3)."""
    return sigma_w**2 * theta.second(q) + sigma_b**2


def chi_1(theta: Tabulated, q: float, sigma_w: float) -> float:
    """χ₁ = σw² E[θ′(√q z)²]: E‖δ_l‖² = χ₁ E‖δ_{l+1}‖² (Schoenholz et al. 2017, eqs. 7 and 16)."""
    return sigma_w**2 * theta.slope_second(q)


def chi_q(theta: Tabulated, q: float, sigma_w: float) -> float:
    """χ_q = σw² E[θθ′z]/√q: how a small deviation from q* grows, |χ_q| < 1 where q* is stable (Schoenholz et al. 2017, eq. 8)."""
    return sigma_w**2 * theta.value_slope(q)


def fixed_point(theta: Tabulated, sigma_w: float, sigma_b: float = 0.0) -> float:
    """q* = lim q_l from q = 1: 0 where the variance vanishes, infinite where it grows without end.

    Where every q is a fixed point (a ReLU with σw² = 2), that is 1.
    """

    def excess(log_q: float) -> float:
        q = float(np.exp(log_q))
        return length_map(theta, q, sigma_w, sigma_b) / q - 1

    if abs(excess(0.0)) < 1e-12:
        return 1.0
    # from q = 1 towards the first root: the map is increasing there, or has only one
    ends = log(Q_HIGH) if excess(0.0) > 0 else log(Q_LOW)
    grid = np.linspace(0.0, ends, 120)
    signs = [excess(at) > 0 for at in grid.tolist()]
    for left, right, here, there in zip(grid, grid[1:], signs, signs[1:], strict=False):
        if here != there:
            return float(np.exp(brentq(excess, left, right, xtol=1e-14)))
    return inf if signs[0] else 0.0


def decades_per_layer(rate: float) -> float:
    """½ log₁₀ of a rate: negative means vanishing towards the input."""
    return 0.5 * log10(rate) if rate > 0 else -inf


def depth_scale(slope: float) -> float:
    """ξ = −1/ln|slope|: the layers over which a deviation shrinks to 1/e; infinite at the edge of chaos and beyond."""
    return -1 / log(abs(slope)) if 0 < abs(slope) < 1 else (0.0 if slope == 0 else inf)


@dataclass(frozen=True, eq=False)
class CorrelationMap:
    """C(c) at one q: the correlation of two inputs' pre-activations, a layer on (Poole et al. 2016, eq. 5).

    By the Hermite series Σ a_k² c^k, in 1 − c so that nothing cancels near 1; what is beyond DEGREE counts as one term, of the mass
    and of the slope at 1 that are missing (for a ReLU, C is then off by at most 1e-4).
    """

    gain: float
    """σw²/q_{l+1}"""
    masses: Numbers
    """Hermite coefficients squared, the remainder at the end."""
    degrees: Numbers
    """k, that of the remainder not whole."""

    def distance(self, gap: float) -> float:
        """1 − C(1 − gap) = σw² Σ a_k² (1 − c^k)/q_{l+1}, for any 0 ≤ gap ≤ 2."""
        return self.gain * self.spread(gap)

    def spread(self, gap: float) -> float:
        """E[θ²] − E[θ(u)θ(v)] at correlation 1 − gap: the variance of θ over samples, on the average over units."""
        return float(self.masses @ _one_minus_power(gap, self.degrees))

    def __call__(self, c: float) -> float:
        return 1 - self.distance(1 - c)

    def slope(self, c: float) -> float:
        """C′(c) = σw² E[θ′(u)θ′(v)] q/q_{l+1}."""
        return float(self.gain * (self.masses @ (self.degrees * _power(c, self.degrees - 1))))

    def value_correlation(self, c: float) -> float:
        """E[θ(u)θ(v)]/E[θ²]."""
        return float(self.masses @ _power(c, self.degrees) / self.masses.sum())

    def slope_correlation(self, c: float) -> float:
        """E[θ′(u)θ′(v)]/E[θ′²]: what of a common direction two samples' δ keep, a layer further down."""
        weights = self.masses * self.degrees
        return float(weights @ _power(c, self.degrees - 1) / weights.sum())

    def fixed_point(self) -> float:
        """c* = lim c_l from c = 0, at the fixed point of q."""
        if self.slope(1.0) <= 1:
            return 1.0

        def excess(c: float) -> float:
            return self(c) - c

        grid = np.linspace(0.0, 1 - 1e-6, 200)
        values = [excess(c) for c in grid.tolist()]
        if values[0] <= 1e-12:
            return 0.0
        for left, right, here, there in zip(grid, grid[1:], values, values[1:], strict=False):
            if here > 0 >= there:
                return float(brentq(excess, left, right, xtol=1e-14))
        return 1.0


def correlation_map(theta: Tabulated, q: float, sigma_w: float, sigma_b: float = 0.0) -> CorrelationMap:
    """C from a layer whose pre-activations have variance q to the next."""
    return correlation_maps(theta, [q], [sigma_w], [sigma_b])[0]


def correlation_maps(
    theta: Tabulated, q: Sequence[float], sigma_w: Sequence[float], sigma_b: Sequence[float]
) -> list[CorrelationMap]:
    """C for several layers [U] at once: q their variances, σw and σb those of the layers above them."""
    degrees = np.arange(DEGREE, dtype=np.float64)
    variances = [within(one) for one in q]
    found = []
    for variance, of_weights, of_bias, squares in zip(
        variances, sigma_w, sigma_b, theta.hermite(np.array(variances)) ** 2, strict=True
    ):
        second = theta.second(variance)
        gain = of_weights**2 / ((of_weights**2 * second + of_bias**2) or inf)
        mass = second - squares.sum()
        slope = variance * theta.slope_second(variance) - degrees @ squares
        if mass > 1e-12 * second and slope > mass * DEGREE:
            found.append(CorrelationMap(gain, np.append(squares, mass), np.append(degrees, slope / mass)))
        else:
            found.append(CorrelationMap(gain, squares, degrees))
    return found


def _power(c: float, degrees: Numbers) -> Numbers:
    """c^k, for the remainder's fractional degree as for |c|; degrees below 0, which have no weight, count as 0."""
    powers = abs(c) ** np.maximum(degrees, 0)
    return np.asarray(powers if c >= 0 else np.where(degrees % 2 == 1, -powers, powers), np.float64)


def _one_minus_power(gap: float, degrees: Numbers) -> Numbers:
    """1 − (1 − gap)^k."""
    if gap < 0.5:
        return np.asarray(-np.expm1(degrees * np.log1p(-gap)), np.float64)
    return 1 - _power(1 - gap, degrees)
