"""Re-parametrised non-linearities that keep a deep network's signal: θ̂(z) = γ(θ(αz + β) + δ).

What is solved for can be asked for as it is: `spec` is the contract's `scaled`. Expectations are over z ~ N(0, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from math import sqrt

import numpy as np
from scipy.optimize import brentq, root

from workers.contract.activations import ActivationSpec, Formula, Scaled, expression_of
from workers.contract.expressions import Expression, compiled, derivative
from workers.contract.nonlinearities import Named
from workers.theory.tabulated import FUNCTIONS, Numbers

MAX_SLOPE = 1.5
"""C′(1) of the whole network under deep kernel shaping (Martens et al. 2021, section 5.4)."""
MAX_CURVATURE = 0.3
"""C″(1) of the whole network under tailored activation transformations (Zhang et al. 2022, section 4.2)."""
TOLERANCE = 1e-9
BETAS = np.linspace(-2.0, 2.0, 33)
"""Of a batch norm before θ; further out, θ is a straight line or flat."""
STARTS = [*product((1.0, 0.1), (0.0, 1.0, -1.0)), *product((0.3, 0.03), (0.5, -0.5, 2.0, -2.0, 3.0, -3.0))]
"""Of (α, β): those of google-deepmind/dks first."""


class Unshapeable(ValueError):  # noqa: N818 - it says what θ is
    """No α, β, γ, δ meet the conditions."""


@dataclass(frozen=True)
class Shaped:
    """θ̂(z) = γ(θ(αz + β) + δ)."""

    alpha: float
    beta: float
    gamma: float
    delta: float

    def spec(self, of: Named | Formula) -> Scaled:
        """As it is written in a request."""
        return Scaled.model_validate(
            {"of": of.model_dump(), "a": self.gamma, "b": self.alpha, "c": self.beta, "d": self.gamma * self.delta}
        )


def local_slope(depth: int, *, total: float = MAX_SLOPE, branch: float = 1.0, per_block: int = 1) -> float:
    """C′(1) that each non-linearity may have for the whole network's to be `total`.

    Plain networks: total^{1/L}. Residual ones, of L blocks x ← √w F(x) + √(1−w) x with m non-linearities in F: a block's slope is
    w sᵐ + 1 − w (Martens et al. 2021, section 5.3).

    Args:
        depth: L, layers of a plain network or blocks of a residual one.
        branch: w; 1 without shortcuts.
        per_block: m.
    """
    of_block = total ** (1 / depth)
    return float(((of_block - 1 + branch) / branch) ** (1 / per_block))


def deep_kernel_shaping(activation: ActivationSpec, slope: float) -> Shaped:
    """Q(1) = 1, Q′(1) = 1, C(0) = 0, C′(1) = slope (Martens et al. 2021, section 5): near linear, but for the whole network not.

    Args:
        slope: above 1, `local_slope` of the network.

    Raises:
        Unshapeable: if no such re-parametrisation was found.
    """

    def of(alpha: float, beta: float) -> tuple[Shaped, list[float]]:
        value, first, _ = _at(activation, alpha, beta)
        mean = _expect(value)
        variance = _expect((value - mean) ** 2)
        conditions = [
            alpha**2 * _expect(first**2) / variance - slope,
            alpha * _expect((value - mean) * first * _grid()[0]) / variance - 1,
        ]
        return Shaped(alpha, beta, 1 / sqrt(variance), -mean), conditions

    return _solve(activation, of)


def tailored(activation: ActivationSpec, curvature: float) -> Shaped:
    """Q(1) = Q′(1) = C′(1) = 1 and C″(1) = curvature, for smooth θ (Zhang et al. 2022, section 4.2).

    Args:
        curvature: above 0; MAX_CURVATURE/L for a plain network of L layers.

    Raises:
        Unshapeable: if no such re-parametrisation was found; so of all that have kinks.
    """

    def of(alpha: float, beta: float) -> tuple[Shaped, list[float]]:
        value, first, second = _at(activation, alpha, beta)
        gamma = 1 / (alpha * sqrt(_expect(first**2)))
        mean = _expect(value)
        variance = _expect((value - mean) ** 2)
        # E(θ + δ)² = 1/γ²; that there is a root is Poincaré's inequality
        offset = sqrt(max(0.0, 1 / gamma**2 - variance))
        found = []
        for delta in (offset - mean, -offset - mean):
            growth = gamma**2 * alpha * _expect((value + delta) * first * _grid()[0]) - 1
            found.append((abs(growth), delta, growth))
        _, delta, growth = min(found)
        conditions = [growth, gamma**2 * alpha**4 * _expect(second**2) / curvature - 1]
        return Shaped(alpha, beta, gamma, delta), conditions

    return _solve(activation, of)


@dataclass(frozen=True)
class CriticalBatch:
    """θ(γ·batch norm(z) + β)."""

    gamma: float
    beta: float
    rate: float
    """γ² E[θ′(γz+β)²]/Var θ(γz+β): what a layer multiplies ‖δ‖² by."""


def critical_batch(activation: ActivationSpec, rate: float = 1.005) -> CriticalBatch:
    """The scale and shift of a batch norm before θ with which gradients grow by `rate` a layer only, θ being used as widely as that allows.

    γ² E[θ′²]/Var θ is at least 1, whatever θ (Poincaré's inequality), and 1 for straight lines alone: so 1 is a limit, γ → 0, and
    what can be chosen is how near to come. Of all β, the one that lets γ be largest is taken.

    Args:
        rate: above 1.

    Raises:
        Unshapeable: if no γ between 1e-3 and 10 comes near enough.
    """
    best: CriticalBatch | None = None
    for beta in BETAS.tolist():
        if _batch_rate(activation, 1e-3, beta) > rate:
            continue
        widest = 10.0
        if _batch_rate(activation, widest, beta) > rate:
            scale = np.geomspace(1e-3, widest, 25)
            # the first crossing: beyond it the rate may come back without being of use
            over = next(at for at in range(25) if _batch_rate(activation, float(scale[at]), beta) > rate)
            widest = float(brentq(partial(_batch_excess, activation, beta, rate), scale[over - 1], scale[over]))
        if best is None or widest > best.gamma:
            best = CriticalBatch(widest, beta, _batch_rate(activation, widest, beta))
    if best is None:
        raise Unshapeable(f"no scale and shift keep {activation.kind} within a rate of {rate:g} behind a batch norm")
    return best


def _batch_rate(activation: ActivationSpec, gamma: float, beta: float) -> float:
    value, first, _ = _at(activation, gamma, beta)
    variance = _expect((value - _expect(value)) ** 2)
    return gamma**2 * _expect(first**2) / variance if variance > 0 else float("inf")


def _batch_excess(activation: ActivationSpec, beta: float, rate: float, gamma: float) -> float:
    return _batch_rate(activation, gamma, beta) - rate


def _conditions(of: Callable[[float, float], tuple[Shaped, list[float]]], place: Numbers) -> list[float]:
    return of(float(place[0]), float(place[1]))[1]


def _solve(activation: ActivationSpec, of: Callable[[float, float], tuple[Shaped, list[float]]]) -> Shaped:
    """The root in (α, β) that the first start leads to: several may exist, and the reference starts alike."""
    for start in STARTS:
        with np.errstate(all="ignore"):
            try:
                at = root(partial(_conditions, of), start, tol=1e-12)
                shaped, conditions = of(float(at.x[0]), float(at.x[1]))
            except (ValueError, ZeroDivisionError, OverflowError):
                continue
        if at.success and max(map(abs, conditions)) < TOLERANCE:
            return shaped
    raise Unshapeable(
        f"no γ({activation.kind}(αz + β) + δ) meets the conditions: it has too little curvature, or kinks where there must be none"
    )


@lru_cache(maxsize=1)
def _grid() -> tuple[Numbers, Numbers]:
    """(z, weights of the expectation over N(0, 1)): Gauss–Legendre panels of a quarter."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    centres = np.arange(-12, 12, 0.25) + 0.125
    z = (centres[:, None] + 0.125 * nodes).ravel()
    return z, np.tile(0.125 * weights, len(centres)) * np.exp(-z * z / 2) / sqrt(2 * np.pi)


def _expect(values: Numbers) -> float:
    return float(_grid()[1] @ values)


@lru_cache(maxsize=64)
def _derivatives(theta: Expression) -> tuple[Callable[[Numbers], Numbers], ...]:
    first = derivative(theta)
    return tuple(compiled(one, FUNCTIONS) for one in (theta, first, derivative(first)))


def _at(activation: ActivationSpec, alpha: float, beta: float) -> tuple[Numbers, Numbers, Numbers]:
    """θ, θ′, θ″ at αz + β on the grid."""
    x = alpha * _grid()[0] + beta
    with np.errstate(all="ignore"):
        value, first, second = (function(x) for function in _derivatives(expression_of(activation)))
    return value, first, second
