"""Shaped non-linearities against google-deepmind/dks, and against what they are to fulfil, by another quadrature."""

import json
from pathlib import Path

import pytest
from theory_samples import activation, non_linearity

from service.validation import read_comparison
from workers.analysis.predicted import predict
from workers.contract.activations import Formula, Scaled
from workers.contract.checks import Limits
from workers.contract.network import Mlp
from workers.contract.nonlinearities import Gaussian, Named
from workers.theory.gains import networks
from workers.theory.meanfield import chi_1, chi_q, correlation_map, length_map
from workers.theory.shaping import (
    MAX_CURVATURE,
    CriticalBatch,
    Shaped,
    Unshapeable,
    critical_batch,
    deep_kernel_shaping,
    local_slope,
    tailored,
)
from workers.theory.tabulated import Tabulated, tabulate

DEPTH = 50
EXAMPLES = Path(__file__).parents[1] / "examples"

DKS = {
    "tanh": (0.12844047873558254, 0.5707795475033656, 10.604447624744472, -0.509807241736997),
    "softplus": (0.326625173443443, 0.409373967652163, 5.094842886884632, -0.9312843019625371),
    "sigmoid": (0.2568809573574245, -1.1415590953848518, 21.20889526282514, -0.24509637906648632),
    "erf": (0.11115808156028477, 0.589644441783966, 11.284620319436454, -0.5899278823147415),
    "silu": (0.18442861360101906, 0.3488179216642604, 8.081396143139461, -0.2124652446623589),
    "softsign": (0.07705479957290258, 0.13600052736048784, 16.55297666951157, -0.1157463439552073),
}
"""(α, β, γ, δ) by dks 0.1.2 for a plain network of 50 layers, C′(1) of 1.5 over all of it."""
TAT = {
    "softplus": (0.21210121644715976, 0.5400250750406134, 7.455736272204548, -0.99704558487587),
    "silu": (0.1233588635937184, 0.4474844794930677, 11.304155680447902, -0.2715723948580853),
}
"""The same for a curvature C″(1) of 0.3 over the whole network."""


def shaped(name: str, found: Shaped) -> Tabulated:
    of = activation(name)
    assert isinstance(of, Named | Formula)
    return tabulate(found.spec(of))


@pytest.mark.parametrize("name", DKS)
def test_deep_kernel_shaping_agrees_with_the_reference(name: str) -> None:
    """1e-4 of each constant; of softsign, whose curvature jumps at 0, the conditions below count."""
    found = deep_kernel_shaping(activation(name), local_slope(DEPTH))
    if name != "softsign":
        assert (found.alpha, found.beta, found.gamma, found.delta) == pytest.approx(DKS[name], rel=1e-5)


@pytest.mark.parametrize("name", TAT)
def test_tailoring_agrees_with_the_reference(name: str) -> None:
    """1e-4 of each constant; odd non-linearities have a mirror image beside it."""
    found = tailored(activation(name), MAX_CURVATURE / DEPTH)
    assert (found.alpha, found.beta, found.gamma, found.delta) == pytest.approx(TAT[name], rel=1e-5)


def test_the_gaussian_which_the_reference_does_not_serve() -> None:
    """exp(−z²), 50 layers: α = .09377, |β| = 1.14026, δ = −.27626, γ = 17.1551."""
    found = deep_kernel_shaping(activation("gaussian"), local_slope(50))
    assert found.alpha == pytest.approx(0.09377, abs=1e-5)
    assert (abs(found.beta), found.delta) == pytest.approx((1.14026, -0.27626), abs=1e-5)
    assert found.gamma == pytest.approx(17.1551, abs=1e-4)


@pytest.mark.parametrize("name", [*DKS, "gaussian", "gaussian_half", "arctan", "gelu", "lecun_tanh", "mexican_hat"])
def test_shaped_kernels_are_what_was_asked_for(name: str) -> None:
    """Q(1) = Q′(1) = 1, C(0) = 0, C′(1) = 1.5 over all layers, so that it trains at depth: as the contract's `scaled`."""
    theta = shaped(name, deep_kernel_shaping(activation(name), local_slope(DEPTH)))
    tolerance = 2e-4 if name == "softsign" else 1e-6
    assert length_map(theta, 1.0, 1.0) == pytest.approx(1, abs=tolerance)
    assert chi_q(theta, 1.0, 1.0) == pytest.approx(1, abs=tolerance)
    assert chi_1(theta, 1.0, 1.0) ** DEPTH == pytest.approx(1.5, rel=DEPTH * tolerance)
    assert correlation_map(theta, 1.0, 1.0)(0.0) == pytest.approx(0, abs=tolerance)


@pytest.mark.parametrize("name", ["tanh", "softplus", "gaussian", "sigmoid"])
def test_tailored_kernels_are_what_was_asked_for(name: str) -> None:
    """Q(1) = Q′(1) = C′(1) = 1, and C″(1), by differences, a share of 0.3."""
    theta = shaped(name, tailored(activation(name), MAX_CURVATURE / DEPTH))
    assert length_map(theta, 1.0, 1.0) == pytest.approx(1, abs=1e-6)
    assert chi_q(theta, 1.0, 1.0) == pytest.approx(1, abs=1e-6)
    assert chi_1(theta, 1.0, 1.0) == pytest.approx(1, abs=1e-6)
    following = correlation_map(theta, 1.0, 1.0)
    curvature = (following.slope(1.0) - following.slope(1.0 - 1e-3)) / 1e-3
    assert curvature == pytest.approx(MAX_CURVATURE / DEPTH, rel=1e-2)


def test_topology() -> None:
    """A residual network's blocks may be steeper, the more the shortcut carries; without one it is the plain network."""
    assert local_slope(50) == pytest.approx(1.5 ** (1 / 50))
    assert local_slope(50, branch=1.0, per_block=2) == pytest.approx(1.5 ** (1 / 100))
    slope = local_slope(20, branch=0.5, per_block=2)
    assert (0.5 * slope**2 + 0.5) ** 20 == pytest.approx(1.5)


def test_what_cannot_be_shaped_says_so() -> None:
    """A ReLU has one shape only, the identity none; a kink has no curvature to tailor."""
    for name in ("relu", "identity"):
        with pytest.raises(Unshapeable, match="meets the conditions"):
            deep_kernel_shaping(activation(name), local_slope(DEPTH))
    with pytest.raises(Unshapeable):
        tailored(activation("relu"), MAX_CURVATURE / DEPTH)


@pytest.mark.parametrize("name", ["gaussian_half", "gaussian", "tanh", "sigmoid", "softplus", "mexican_hat"])
def test_a_batch_norm_may_come_as_near_to_one_as_wanted(name: str) -> None:
    """γ and β with the rate asked for, by the other quadrature; nearer to 1 is narrower. Exactly 1 there is none but for lines."""
    found, nearer = critical_batch(activation(name)), critical_batch(activation(name), 1.001)
    of = activation(name)
    assert isinstance(of, Named)
    theta = tabulate(Shaped(found.gamma, found.beta, 1.0, 0.0).spec(of))
    rate = theta.slope_second(1.0) / (theta.second(1.0) - theta.mean(1.0) ** 2)
    assert rate == pytest.approx(1.005, abs=1e-5) == found.rate
    assert nearer.gamma < found.gamma
    assert isinstance(critical_batch(activation("identity")), CriticalBatch)


@pytest.mark.parametrize(("gamma", "beta", "rate"), [(0.5, 1.0, 1.072), (0.25, 1.0, 1.005)])
def test_published_pairs_of_a_batch_norm_before_a_gaussian(gamma: float, beta: float, rate: float) -> None:
    """exp(−z²/2) on its flank instead of its top, where it explodes by 2.488 a layer."""
    theta = non_linearity({"kind": "scaled", "of": "gaussian_half", "b": gamma, "c": beta})
    assert theta.slope_second(1.0) / (theta.second(1.0) - theta.mean(1.0) ** 2) == pytest.approx(rate, abs=1e-3)


def test_the_deep_example_is_what_the_theory_says() -> None:
    """Its shaped Gaussian is the solver's; every remedied network keeps its signal within two and a half decades, no twin does."""
    spec = read_comparison(json.loads((EXAMPLES / "deep-digits.json").read_text()), Limits())
    constants = spec.variants["Gaussian 50, shaped"].network
    assert isinstance(constants, Mlp) and isinstance(constants.activation, Scaled)
    solved = deep_kernel_shaping(activation("gaussian"), local_slope(50)).spec(Gaussian())
    assert constants.activation.of == solved.of
    assert all(getattr(constants.activation, name) == pytest.approx(getattr(solved, name), rel=1e-6) for name in "abcd")
    for name, layers in networks(spec).items():
        decades = predict(layers, spec.problem, 64, spec.precision).decades
        assert decades is not None and (abs(decades) < 2.5) == ("," in name), name
