"""A non-linearity θ, evaluated once on fixed nodes: an expectation over z ~ N(0, q) for any q is then a weighted sum.

N nodes. Gauss–Legendre panels graded towards 0 and bisected where θ or θ′ is not resolved: Gauss–Hermite would smear kinks over
its whole range and needs hundreds of nodes at large q.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from workers.contract.activations import ActivationSpec, expression_of
from workers.contract.expressions import Expression, Functions, compiled, derivative

Numbers = NDArray[np.float64]

FUNCTIONS: Functions = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": lambda z: np.logaddexp(0, z),
    "erf": special.erf,
    "arctan": np.arctan,
    "sin": np.sin,
    "cos": np.cos,
    "max": np.maximum,
    "min": np.minimum,
    "where": np.where,
    "constant": np.full_like,
}
"""The functions a formula may name, of arrays."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
LOWEST, HIGHEST = -60, 16
"""Octaves of |x| that have panels of their own; below is one panel down to 0."""
NEAR = np.linspace(-2.0, 2.0, 17)
NOISE = 1e-12
"""What is below this share of the largest θ² or θ′² near 0 may be rounding."""
NARROWEST = 2.0**-30
"""Width of a panel beyond which it is not bisected: a kink inside costs less than 1e-9."""
FARTHEST = 64.0
"""|x| of the outermost panel that is bisected."""
MOST_PANELS = 1500
UNRESOLVED = 1e-9
"""Relative change of a panel's integrals under bisection."""
Q_MIN, Q_MAX = 1e-28, 1e7
"""Variances that the nodes cover. Below, θ is its tangents at 0; above, a power of z."""
DEGREE = 48
"""Hermite coefficients that are taken."""
SATURATED = 0.1
"""Share of max |θ′| below which a unit counts as saturated."""


class Unpredictable(ValueError):  # noqa: N818 - it says what the network is
    """The theory has no forecast; the message says why."""


class Discontinuous(Unpredictable):
    """θ jumps, so that its slope, and with it χ₁, is infinite: no gradient theory can be had."""


class _Moments(NamedTuple):
    second: float
    slope_second: float
    fourth: float
    slope_fourth: float
    mean: float
    slope_mean: float
    slope_product: float
    """E[θ′z]"""


@dataclass(frozen=True, eq=False)
class Tabulated:
    """θ and θ′ on nodes x with weights w, so that ∫f dx ≈ Σ w f(x)."""

    x: Numbers
    """[N] increasing"""
    weight: Numbers
    """[N]"""
    value: Numbers
    """[N] θ(x)"""
    slope: Numbers
    """[N] θ′(x)"""
    function: Callable[[Any], Any]
    """θ of any array."""
    at_zero: float
    """θ(0)"""
    kinks: Numbers
    """Places where θ′ jumps, those apart that panels end at anyway."""

    def density(self, q: float) -> Numbers:
        """[N] weights of the expectation over N(0, q), Q_MIN ≤ q ≤ Q_MAX."""
        return np.asarray(np.exp(self._minus_half_square / q) * (self.weight / sqrt(2 * pi * q)))

    def second(self, q: float) -> float:
        """E[θ²], extrapolated where the nodes end."""
        if q < Q_MIN:
            at_zero = self.at_zero**2
            return at_zero + (self._moments(Q_MIN).second - at_zero) * q / Q_MIN
        if q > Q_MAX:
            top, below = self._moments(Q_MAX).second, self._moments(Q_MAX / 4).second
            with np.errstate(over="ignore"):
                return float(top * (np.float64(q) / Q_MAX) ** (np.log(top / below) / np.log(4)))
        return self._moments(q).second

    def mean(self, q: float) -> float:
        """E[θ]; beyond the range of the nodes the value at its edge."""
        return self._moments(within(q)).mean

    def slope_second(self, q: float) -> float:
        """E[θ′²]."""
        return self._moments(within(q)).slope_second

    def slope_mean(self, q: float) -> tuple[float, float]:
        """E[θ′] and E[θ′z]/√q."""
        found = self._moments(within(q))
        return found.slope_mean, found.slope_product / sqrt(within(q))

    def kurtosis(self, q: float) -> tuple[float, float]:
        """E[θ⁴]/E[θ²]² and E[θ′⁴]/E[θ′²]²."""
        found = self._moments(within(q))
        return found.fourth / (found.second**2 or 1.0), found.slope_fourth / (found.slope_second**2 or 1.0)

    def value_slope(self, q: float) -> float:
        """E[θθ′z]/q with z ~ N(0, q): the derivative of E[θ²] by q."""
        q = within(q)
        return float(self.density(q) @ np.nan_to_num(self.value * self.slope * self.x)) / q

    def saturation(self, q: float) -> float:
        """P(|θ′(z)| < a tenth of its maximum)."""
        if not len(self._saturated):
            return 0.0
        bounds = special.ndtr(self._saturated / sqrt(min(max(q, Q_MIN), 1e300)))
        return float((bounds[:, 1] - bounds[:, 0]).sum())

    def hermite(self, q: Numbers) -> Numbers:
        """[U, DEGREE] a_k = E[θ(√q z) h_k(z)] for each q [U], with h_k the Hermite polynomials, orthonormal under N(0, 1).

        E[θ(√q u)θ(√q v)] = Σ a_k² c^k for normal u, v of correlation c (Mehler 1866).
        """
        z, weighed = _hermite_polynomials()
        with np.errstate(all="ignore"):
            values = self.function(np.sqrt(np.clip(q, Q_MIN, Q_MAX))[:, None] * z)
        return np.asarray(values @ weighed.T, np.float64)

    @lru_cache(maxsize=8192)  # noqa: B019 - as many as the last few networks have layers
    def _moments(self, q: float) -> "_Moments":
        return _Moments(*(self._powers @ self.density(q)).tolist())

    @cached_property
    def _powers(self) -> Numbers:
        """[7, N] what `_Moments` are the expectations of; no infinity, for one times a density of zero is no number."""
        with np.errstate(over="ignore"):
            squares = [self.value**2, self.slope**2, self.value**4, self.slope**4]
            rows = np.stack([*squares, self.value, self.slope, self.slope * self.x])
        return np.nan_to_num(rows, nan=0.0, posinf=1e280, neginf=-1e280)

    @cached_property
    def _minus_half_square(self) -> Numbers:
        return -0.5 * self.x * self.x

    @cached_property
    def steepest(self) -> float:
        """Max |θ′| over |z| < FARTHEST, beyond which no sound network's pre-activations go."""
        return float(np.abs(self.slope[np.abs(self.x) < FARTHEST]).max())

    @cached_property
    def _saturated(self) -> Numbers:
        """[S, 2] intervals of z where |θ′| is below a tenth of its maximum."""
        excess = np.abs(self.slope) - SATURATED * self.steepest
        below = np.concatenate([[False], excess < 0, [False]])
        crossings = np.flatnonzero(below[1:] != below[:-1])
        x, n = self.x, len(self.x)

        def place(at: int) -> float:
            if at in (0, n):
                return -np.inf if at == 0 else np.inf
            left, right = excess[at - 1], excess[at]
            return float(x[at - 1] + (x[at] - x[at - 1]) * left / (left - right))

        return np.array([place(at) for at in crossings.tolist()]).reshape(-1, 2)


@lru_cache(maxsize=1)
def _hermite_polynomials() -> tuple[Numbers, Numbers]:
    """(z [M], h_k(z) times weight times normal density [DEGREE, M]), by the three-term recurrence."""
    edges = np.linspace(-12, 12, 97)
    z, weight = (part.ravel() for part in _nodes(np.stack([edges[:-1], edges[1:]], axis=1)))
    found = np.empty((DEGREE, len(z)))
    before, now = np.zeros_like(z), weight * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    for k in range(DEGREE):
        found[k] = now
        before, now = now, (z * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    return z, found


def within(q: float) -> float:
    """The nearest variance that the nodes cover."""
    return min(max(q, Q_MIN), Q_MAX)


@lru_cache(maxsize=512)
def tabulate(activation: ActivationSpec) -> Tabulated:
    """θ of a spec, on nodes. Cached: it takes some milliseconds.

    Raises:
        Discontinuous: if θ jumps.
    """
    return tabulate_expression(expression_of(activation))


def tabulate_expression(theta: Expression) -> Tabulated:
    """θ of a formula, on nodes.

    Raises:
        Discontinuous: if θ jumps.
    """
    value, slope = compiled(theta, FUNCTIONS), compiled(derivative(theta), FUNCTIONS)
    with np.errstate(all="ignore"):
        panels, kinks = _panels(value, slope)
        x, weight = _nodes(panels)
        at_zero = float(value(np.zeros(1))[0])
        return Tabulated(x.ravel(), weight.ravel(), value(x).ravel(), slope(x).ravel(), value, at_zero, kinks)


def _panels(value: Callable[[Any], Any], slope: Callable[[Any], Any]) -> tuple[Numbers, Numbers]:
    """([P, 2] from left to right, the middles of those too narrow to be bisected)."""
    octaves = 2.0 ** np.arange(LOWEST, HIGHEST + 1)
    halves = np.sort(np.concatenate([octaves, 1.5 * octaves[:-1]]))  # half an octave resolves the normal density
    edges = np.concatenate([-halves[::-1], [0.0], halves])
    near = edges[np.abs(edges) <= FARTHEST]
    _refuse_jumps(value, slope, np.stack([near - NARROWEST / 2, near + NARROWEST / 2], axis=1))
    pending, done, kinks = np.stack([edges[:-1], edges[1:]], axis=1), [], []
    count = len(pending)
    while len(pending):
        unresolved = _unresolved(value, slope, pending) & (count < MOST_PANELS)
        unresolved &= np.abs(pending).max(1) <= FARTHEST
        wide = pending[:, 1] - pending[:, 0] > NARROWEST
        _refuse_jumps(value, slope, pending[unresolved & ~wide])
        split = unresolved & wide
        kinks.append(pending[unresolved & ~wide].mean(1))
        done.append(pending[~split])
        middle = pending[split].mean(1)
        pending = np.concatenate(
            [np.stack([pending[split, 0], middle], axis=1), np.stack([middle, pending[split, 1]], axis=1)]
        )
        count += int(split.sum())
    panels = np.concatenate(done)
    return np.asarray(panels[np.argsort(panels[:, 0])]), np.concatenate(kinks)


def _unresolved(value: Callable[[Any], Any], slope: Callable[[Any], Any], panels: Numbers) -> NDArray[np.bool_]:
    """[P] whether the integral of θ² or of θ′² changes when a panel is cut in two."""
    middle = panels.mean(1)
    halves = np.stack([panels[:, 0], middle, middle, panels[:, 1]], axis=1).reshape(-1, 2)
    (x, weight), (x2, weight2) = _nodes(panels), _nodes(halves)
    found = np.zeros(len(panels), np.bool_)
    for function in (value, slope):
        whole, fine = function(x) ** 2, function(x2) ** 2
        change = np.abs((weight * whole).sum(1) - (weight2 * fine).sum(1).reshape(-1, 2).sum(1))
        width = panels[:, 1] - panels[:, 0]
        scale = np.maximum(fine.reshape(len(panels), -1).max(1), NOISE * (function(NEAR) ** 2).max())
        found |= np.isfinite(scale) & ~(change <= UNRESOLVED * width * scale)
    return found


def _refuse_jumps(value: Callable[[Any], Any], slope: Callable[[Any], Any], panels: Numbers) -> None:
    if not len(panels):
        return
    x, weight = _nodes(panels)
    risen = value(panels[:, 1]) - value(panels[:, 0])
    jumps = np.abs(risen - (weight * slope(x)).sum(1)) > 1e-6 * (np.abs(value(panels)).max(1) + 1e-3)
    if jumps.any():
        place = round(float(panels[np.argmax(jumps)].mean()), 6) + 0.0
        raise Discontinuous(
            f"the non-linearity jumps near z = {place:.4g}: its slope there is infinite and carries "
            "no gradient, so nothing can be predicted"
        )


def _nodes(panels: Numbers) -> tuple[Numbers, Numbers]:
    """[P, 8] nodes and their weights."""
    half = (panels[:, 1:] - panels[:, :1]) / 2
    return panels.mean(1, keepdims=True) + half * NODES, half * WEIGHTS
