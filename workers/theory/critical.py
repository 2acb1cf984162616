"""The edge of chaos, χ₁ = 1, of any non-linearity: where it is, whether a network can live there, and what helps if not.

Choose q*; then σw² = 1/E[θ′²] and σb² = q* − σw² E[θ²] (Hayou et al. 2019, algorithm 1). Orthogonal weights have the same one:
their variance of σw²/fan_in is what counts (Pennington et al. 2017).
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt
from typing import Literal

import numpy as np
from scipy.optimize import brentq

from workers.contract.activations import ActivationSpec, Normalised, Scaled, expression_of, held
from workers.contract.base import Spec
from workers.contract.expectations import moments
from workers.contract.expressions import compiled
from workers.theory.meanfield import chi_q
from workers.theory.tabulated import FUNCTIONS, Discontinuous, Tabulated, tabulate

Status = Literal["found", "none", "unstable", "saturated", "discontinuous"]

Q_GRID = np.geomspace(1e-5, 1e4, 181)
"""Where q* is sought."""
TINY = 1e-12
MOSTLY = 0.5
"""Share of saturated units beyond which a layer counts as saturated."""


@dataclass(frozen=True)
class Critical:
    """Weights and biases at the edge of chaos."""

    status: Status
    """`found`, or why it is of no use: there is none; q* is unstable, so that depth leaves it; most units are saturated there."""
    sigma_w: float
    """NaN if there is none."""
    sigma_b: float
    q: float
    """q*: 0 where it is reached only as a limit, NaN where any q is one (θ(cz) = cθ(z), as of a ReLU)."""
    chi_q: float
    """Below 1 in size where q* is stable."""


def critical(theta: Tabulated, sigma_b: float = 0.0) -> Critical:
    """(σw, q*) with χ₁ = 1 and q* fixed, for biases of standard deviation σb; the smallest q* of several.

    Args:
        theta: any non-linearity.
        sigma_b: 0 or more.
    """

    def excess(q: float) -> float:
        """σb²(q) − σb², of the critical σw at q, relative to q."""
        return 1 - theta.second(q) / (q * theta.slope_second(q)) - sigma_b**2 / q

    at_limit = theta.slope_second(TINY)
    if sigma_b == 0 and abs(theta.at_zero) < TINY and at_limit > 0:
        flat = all(abs(excess(q)) < 1e-6 for q in (1e-3, 1.0, 10.0))
        repels = theta.second(1e-3) / at_limit > 1e-3 * (1 + 1e-9)
        status: Status = "unstable" if repels and not flat else "found"
        return Critical(status, 1 / sqrt(at_limit), 0.0, float("nan") if flat else 0.0, 1.0)
    values = [excess(q) for q in Q_GRID.tolist()]
    for left, right, below, above in zip(Q_GRID, Q_GRID[1:], values, values[1:], strict=False):
        if isfinite(below) and isfinite(above) and below * above <= 0:
            q = float(brentq(excess, left, right, xtol=1e-13))
            sigma_w = 1 / sqrt(theta.slope_second(q))
            slope = chi_q(theta, q, sigma_w)
            status = "unstable" if abs(slope) >= 1 else "saturated" if theta.saturation(q) > MOSTLY else "found"
            return Critical(status, sigma_w, sigma_b, q, slope)
    return Critical("none", float("nan"), sigma_b, float("nan"), float("nan"))


@lru_cache(maxsize=512)
def critical_of(activation: ActivationSpec, sigma_b: float = 0.0) -> Critical:
    """`critical` of a spec."""
    try:
        return critical(tabulate(activation), sigma_b)
    except Discontinuous:
        return Critical("discontinuous", float("nan"), sigma_b, float("nan"), float("nan"))


def complaint(activation: ActivationSpec, sigma_b: float = 0.0) -> str | None:
    """Why there is no useful critical initialisation, in words with the nearest remedy; None if there is one."""
    found = critical_of(activation, sigma_b)
    name = activation.kind
    reasons = {
        "none": f"{name} has no critical initialisation at σb = {sigma_b:g}",
        "unstable": (
            f"the critical initialisation of {name}, σw = {found.sigma_w:.4g}, is unstable: the variance leaves it with depth "
            f"(χ_q = {found.chi_q:.3g})"
        ),
        "saturated": (
            f"at the critical initialisation of {name}, σw = {found.sigma_w:.4g}, most units are saturated (q* = {found.q:.3g})"
        ),
        "discontinuous": f"{name} jumps, so that its gradient says nothing",
    }
    return None if found.status == "found" else f"{reasons[found.status]}: {_remedy(activation, sigma_b)}"


def _remedy(activation: ActivationSpec, sigma_b: float) -> str:
    """The first of centring and normalising that makes it critical, as it is written in a request."""
    activation = held(activation)
    if not isinstance(activation, Scaled | Normalised):
        centred = Scaled(of=activation, d=-_at_zero(activation))
        if (found := critical_of(centred, sigma_b)).status == "found":
            return f"centre it, {_words(centred)} is critical at σw = {found.sigma_w:.4g}"
    if not isinstance(activation, Normalised) and _has_moments(activation):
        normalised = Normalised(of=activation)
        if (found := critical_of(normalised, sigma_b)).status == "found":
            return f"normalise it, {_words(normalised)} is critical at σw = {found.sigma_w:.4g}"
    return "give a number, or put a normalisation before it"


def _words(activation: ActivationSpec) -> str:
    """As in a request, defaults left out."""
    return json.dumps(_short(activation))


def _short(spec: Spec) -> str | dict[str, object]:
    said = {
        name: _short(value) if isinstance(value, Spec) else value
        for name, value in spec
        if name == "kind" or value != type(spec).model_fields[name].default
    }
    return str(said["kind"]) if len(said) == 1 else said


def _at_zero(activation: ActivationSpec) -> float:
    return float(compiled(expression_of(activation), FUNCTIONS)(np.zeros(1))[0])


def _has_moments(activation: ActivationSpec) -> bool:
    try:
        moments(expression_of(activation))
    except ArithmeticError:
        return False
    return True
