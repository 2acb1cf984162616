"""Re-parametrised non-linearities that keep a deep network's signal: θ̂(z) = γ(θ(αz + β) + δ).

What is solved for can be asked for as it is: `spec` is the contract's `scaled`. Expectations are over z ~ N(0, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from math import acos, inf, pi, sqrt
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError
from scipy.optimize import brentq, fsolve

from workers.contract.activations import ActivationSpec, Formula, Scaled, expression_of
from workers.contract.expressions import Expression, compiled, derivative
from workers.contract.nonlinearities import Named
from workers.theory.tabulated import FUNCTIONS, Discontinuous, Numbers, tabulate

TOLERANCE = 1e-10
BETAS = np.linspace(-2.0, 2.0, 33)
"""Of a batch norm before θ; further out, θ is a straight line or flat."""
STARTS = [*product((1.0, 0.1), (0.0, 1.0, -1.0)), *product((0.3, 0.03), (0.5, -0.5, 2.0, -2.0, 3.0, -3.0))]
"""Of (α, β): those of google-deepmind/dks first."""
EVALUATIONS = 200
"""Of the conditions from one start, at most; roots that are found take about 20."""
FARTHEST = 10.0
"""|β| of a root that is taken: further out θ is a straight line but for what hardly ever comes, and rounding decides what is a root."""
STEEP = 2.0
"""|αγ E θ′| from which a tailored non-linearity's variance is unstable: such roots are passed over (google-deepmind/dks: αγ)."""


ADVICE = {
    "relu": "shape a leaky_relu instead, whose slope below zero is chosen, too",
    "identity": "a straight line needs none, leave it as it is",
}


class Unshapeable(ValueError):  # noqa: N818 - it says what θ is
    """No α, β, γ, δ meet the conditions."""


@dataclass(frozen=True)
class Constants:
    """θ̂(z) = γ(θ(αz + β) + δ)."""

    alpha: float
    beta: float
    gamma: float
    delta: float

    def spec(self, of: Named | Formula) -> Scaled:
        """As it is written in a request.

        Raises:
            Unshapeable: where a constant is beyond what a request may say.
        """
        try:
            return Scaled(of=of, a=self.gamma, b=self.alpha, c=self.beta, d=self.gamma * self.delta)
        except ValidationError:
            raise Unshapeable(
                f"γ = {self.gamma:.3g} and α = {self.alpha:.3g} are out of bounds: another target"
            ) from None


def deep_kernel_shaping_of_leaky_relu(slope: float) -> tuple[float, Constants]:
    """(Slope below zero, constants) with Q(1) = Q′(1) = 1, C(0) = 0, C′(1) = slope: α = 1 and β = 0 will do, Q′(1) = 1 holds anyway.

    C′(1) = E[θ′²]/Var θ = 1/(1 − (1 − a)²/(π(1 + a²))).

    Args:
        slope: above 1, at most π/(π − 1) = 1.467, of a ReLU.

    Raises:
        Unshapeable: beyond.
    """
    if not 1 < slope <= pi / (pi - 1):
        raise Unshapeable(
            f"no leaky ReLU has a slope C′(1) of {slope:.4g}, a ReLU's is 1.467: a smaller target, or more layers"
        )
    rest = 1 - pi * (1 - 1 / slope)
    # (1 − a)² = (1 − rest)(1 + a²), the root from 0 to 1
    below = rest / (1 + sqrt(1 - rest * rest))
    mean = (1 - below) / sqrt(2 * pi)
    return below, Constants(1.0, 0.0, 1 / sqrt((1 + below**2) / 2 - mean**2), -mean)


def leaky_relu_map(c: float, below: float) -> float:
    """C(c) = c + (1 − a)²(√(1 − c²) − c arccos c)/(π(1 + a²)) (Zhang et al. 2022, eq. 9)."""
    c = min(1.0, max(-1.0, c))
    return c + (1 - below) ** 2 * (sqrt(1 - c * c) - c * acos(c)) / (pi * (1 + below**2))


@lru_cache(maxsize=256)
def deep_kernel_shaping(activation: ActivationSpec, slope: float) -> Constants:
    """Q(1) = 1, Q′(1) = 1, C(0) = 0, C′(1) = slope (Martens et al. 2021, section 5): near linear, but for the whole network not.

    Args:
        slope: above 1; 1.5^{1/L} for a plain network of L layers.

    Raises:
        Unshapeable: if no such re-parametrisation was found.
    """

    def of(alpha: float, beta: float) -> tuple[Constants, list[float]]:
        sample = _sample(activation, alpha, beta)
        (value, first), expect = sample.theta, sample.expect
        mean = expect(value)
        variance = expect((value - mean) ** 2)
        conditions = [
            alpha**2 * expect(first**2) / variance - slope,
            alpha * expect((value - mean) * first * sample.z) / variance - 1,
        ]
        return Constants(alpha, beta, 1 / sqrt(variance), -mean), conditions

    return _solve(activation, of)


@lru_cache(maxsize=256)
def tailored(activation: ActivationSpec, curvature: float) -> Constants:
    """Q(1) = Q′(1) = C′(1) = 1 and C″(1) = curvature, for smooth θ (Zhang et al. 2022, section 4.2).

    Args:
        curvature: above 0; 0.3/L for a plain network of L layers.

    Raises:
        Unshapeable: if no such re-parametrisation was found; so of all that have kinks.
    """

    def of(alpha: float, beta: float) -> tuple[Constants, list[float]]:
        sample = _sample(activation, alpha, beta, 2)
        (value, first, second), expect = sample.theta, sample.expect
        gamma = 1 / (alpha * sqrt(expect(first**2)))
        mean = expect(value)
        variance = expect((value - mean) ** 2)
        # E(θ + δ)² = 1/γ²; that there is a root is Poincaré's inequality
        offset = sqrt(max(0.0, 1 / gamma**2 - variance))
        found = []
        for delta in (offset - mean, -offset - mean):
            growth = gamma**2 * alpha * expect((value + delta) * first * sample.z) - 1
            found.append((abs(growth), delta, growth))
        _, delta, growth = min(found)
        conditions = [growth, gamma**2 * alpha**4 * expect(second**2) / curvature - 1]
        return Constants(alpha, beta, gamma, delta), conditions

    return _solve(activation, of, STEEP)


@dataclass(frozen=True)
class CriticalBatch:
    """θ(γ·batch norm(z) + β)."""

    gamma: float
    beta: float
    rate: float
    """γ² E[θ′(γz+β)²]/Var θ(γz+β): what a layer multiplies ‖δ‖² by."""


@lru_cache(maxsize=256)
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
    sample = _sample(activation, gamma, beta)
    (value, first), expect = sample.theta, sample.expect
    variance = expect((value - expect(value)) ** 2)
    return gamma**2 * expect(first**2) / variance if variance > 0 else float("inf")


def _batch_excess(activation: ActivationSpec, beta: float, rate: float, gamma: float) -> float:
    return _batch_rate(activation, gamma, beta) - rate


def _conditions(of: Callable[[float, float], tuple[Constants, list[float]]], place: Numbers) -> list[float]:
    return of(float(place[0]), float(place[1]))[1]


def _solve(
    activation: ActivationSpec, of: Callable[[float, float], tuple[Constants, list[float]]], steepest: float = inf
) -> Constants:
    """The root in (α, β) that the first start leads to: several may exist, and the reference starts alike."""
    try:
        tabulate(activation)
    except Discontinuous as reason:
        raise Unshapeable(str(reason)) from None
    for start in STARTS:
        with np.errstate(all="ignore"):
            try:
                at, *_ = fsolve(partial(_conditions, of), start, xtol=1e-12, maxfev=EVALUATIONS, full_output=True)
                shaped, conditions = of(float(at[0]), float(at[1]))
            except (ValueError, ArithmeticError):
                continue
        near = abs(shaped.beta) < FARTHEST and _mean_slope(activation, shaped) < steepest
        if near and max(map(abs, conditions)) < TOLERANCE:
            return shaped
    raise Unshapeable(
        f"no γ({activation.kind}(αz + β) + δ) meets the conditions: it has too little curvature, or kinks where there must be none; "
        + ADVICE.get(activation.kind, "shape a smooth one, or put a normalisation before this one")
    )


def _mean_slope(activation: ActivationSpec, shaped: Constants) -> float:
    sample = _sample(activation, shaped.alpha, shaped.beta)
    return abs(shaped.alpha * shaped.gamma * sample.expect(sample.theta[1]))


class _Sample(NamedTuple):
    """On [M] nodes z of a quadrature over N(0, 1), panels of a quarter, cut where θ(αz + β) has a kink."""

    z: Numbers
    weight: Numbers
    theta: list[Numbers]
    """θ, θ′ and, if asked for, θ″ at αz + β."""

    def expect(self, values: Numbers) -> float:
        return float(self.weight @ values)


def _sample(activation: ActivationSpec, alpha: float, beta: float, order: int = 1) -> _Sample:
    z, weight = _grid(*((kink - beta) / alpha for kink in _kinks(activation)))
    x = alpha * z + beta
    with np.errstate(all="ignore"):
        theta = [function(x) for function in _derivatives(expression_of(activation))[: order + 1]]
    return _Sample(z, weight, theta)


@lru_cache(maxsize=4)
def _grid(*kinks: float) -> tuple[Numbers, Numbers]:
    """(z, weights of the expectation over N(0, 1))."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.sort(np.concatenate([np.arange(-12, 12.25, 0.25), [at for at in kinks if abs(at) < 12]]))
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + nodes)).ravel()
    return z, (half * weights).ravel() * np.exp(-z * z / 2) / sqrt(2 * np.pi)


@lru_cache(maxsize=64)
def _kinks(activation: ActivationSpec) -> tuple[float, ...]:
    """Where θ′ or θ″ jumps, of the places where kinks are wont to be."""
    places = np.concatenate([np.arange(-16, 17) / 2.0, tabulate(activation).kinks])
    with np.errstate(all="ignore"):
        sides = [np.abs(f(places - 1e-9) - f(places + 1e-9)) for f in _derivatives(expression_of(activation))[1:]]
    return tuple(dict.fromkeys(places[(sides[0] > 1e-6) | (sides[1] > 1e-6)].tolist()))


@lru_cache(maxsize=64)
def _derivatives(theta: Expression) -> tuple[Callable[[Numbers], Numbers], ...]:
    first = derivative(theta)
    return tuple(compiled(one, FUNCTIONS) for one in (theta, first, derivative(first)))
