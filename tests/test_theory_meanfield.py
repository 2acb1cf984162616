"""Expectations, fixed points, rates and correlations against closed forms, scipy's quadrature and a table computed elsewhere."""

from collections.abc import Callable
from itertools import pairwise
from math import asin, inf, isnan, pi, sqrt

import numpy as np
import pytest
from scipy import integrate, stats
from theory_samples import OTHERWISE, activation, non_linearity, table

from workers.contract.nonlinearities import NAMED
from workers.theory import finite_width, rates
from workers.theory.meanfield import (
    chi_1,
    chi_q,
    correlation_map,
    decades_per_layer,
    depth_scale,
    fixed_point,
    length_map,
)
from workers.theory.tabulated import Discontinuous, Numbers, tabulate


@pytest.mark.parametrize("row", table("glorot_like"), ids=lambda row: row["activation"])
def test_the_table_at_unit_variance_is_reproduced(row: dict[str, str]) -> None:
    """q*, χ₁, χ_q, decades per layer, the norms' rates and the correlation's fixed point at σw = 1, σb = 0."""
    theta = non_linearity(OTHERWISE.get(row["activation"], row["activation"]))
    q = fixed_point(theta, 1.0)
    assert q == pytest.approx(float(row["q_star"]), rel=2e-5, abs=1e-12)
    assert chi_1(theta, q, 1.0) == pytest.approx(float(row["chi_1"]), rel=1e-5)
    assert chi_q(theta, q, 1.0) == pytest.approx(float(row["chi_q"]), rel=2e-5)
    assert decades_per_layer(chi_1(theta, q, 1.0)) == pytest.approx(float(row["decades_per_layer_gradnorm"]), abs=1e-5)
    assert rates.batch_norm(theta) == pytest.approx(float(row["bn_rate"]), rel=1e-5)
    assert rates.layer_norm(theta) == pytest.approx(float(row["ln_rate"]), rel=1e-5)
    if row["xi_q"] != "inf":
        assert depth_scale(chi_q(theta, q, 1.0)) == pytest.approx(float(row["xi_q"]), rel=1e-4)
    if q > 0 and row["xi_c"] not in ("", "inf") and row["activation"] != "identity":
        following = correlation_map(theta, q, 1.0)
        c = following.fixed_point()
        assert c == pytest.approx(float(row["c_star"]), abs=1e-6)
        assert following.slope(c) == pytest.approx(float(row["corr_slope_at_cstar"]), rel=1e-5)
        assert depth_scale(following.slope(c)) == pytest.approx(float(row["xi_c"]), rel=1e-3)


@pytest.mark.parametrize("spec", NAMED, ids=lambda spec: spec.__name__)
@pytest.mark.parametrize("q", [0.01, 1.0, 25.0])
def test_expectations_agree_with_scipy(spec: type, q: float) -> None:
    """E[θ²] and E[θ′²] for every named non-linearity, θ′ there from differences of θ."""
    theta = tabulate(spec())
    bound = 12 * sqrt(q)
    edges = sorted({at for at in (-3.0, -1.0, 0.0, 1.0, 3.0) if abs(at) < bound} | {-bound, bound})

    def expected(values: Callable[[Numbers], Numbers]) -> float:
        def weighed(z: Numbers) -> Numbers:
            return np.asarray(values(z) ** 2 * stats.norm.pdf(z, scale=sqrt(q)))

        return sum(float(integrate.fixed_quad(weighed, *ends, n=300)[0]) for ends in pairwise(edges))

    def slope(z: Numbers) -> Numbers:
        step = 1e-6 * np.clip(np.abs(z), 1e-3, 1)
        return np.asarray((theta.function(z + step) - theta.function(z - step)) / (2 * step))

    assert theta.second(q) == pytest.approx(expected(theta.function), rel=1e-7)
    assert theta.slope_second(q) == pytest.approx(expected(slope), rel=1e-6)


def test_closed_forms() -> None:
    """Erf (Williams 1997), sin, hard tanh, ReLU (Cho & Saul 2009), the Gaussians."""
    erf, sin, hard = non_linearity("erf"), non_linearity("sin"), non_linearity("hard_tanh")
    for q in (0.01, 1.0, 30.0):
        assert erf.second(q) == pytest.approx(2 / pi * asin(2 * q / (1 + 2 * q)), rel=1e-9)
        assert erf.slope_second(q) == pytest.approx(4 / pi / sqrt(1 + 4 * q), rel=1e-9)
        assert sin.second(q) == pytest.approx((1 - np.exp(-2 * q)) / 2, rel=1e-8)
        assert hard.slope_second(q) == pytest.approx(2 * stats.norm.cdf(1 / sqrt(q)) - 1, rel=1e-9)
    fast = non_linearity({"kind": "expression", "formula": "sin(10*z)"})
    assert fast.second(1.0) == pytest.approx((1 - np.exp(-200)) / 2, rel=1e-6)
    assert fixed_point(non_linearity("gaussian"), 1 + sqrt(0.5)) == pytest.approx((1 + sqrt(2)) / 2, rel=1e-9)
    assert fixed_point(non_linearity("gaussian_half"), 1 + sqrt(2)) == pytest.approx(1 + sqrt(2), rel=1e-9)
    assert fixed_point(non_linearity("relu"), sqrt(2)) == 1.0
    assert fixed_point(non_linearity("relu"), 2.0) == inf
    assert non_linearity("relu").second(1e-60) == pytest.approx(0.5e-60)
    assert non_linearity("relu").second(1e40) == pytest.approx(0.5e40)


@pytest.mark.parametrize("c", [0.0, 0.3, 0.9, 0.999])
def test_correlations_have_the_arcsine_and_arccosine_kernels(c: float) -> None:
    """Erf to 1e-9; the ReLU, whose series has no end, to 1e-4."""
    for q in (0.1, 1.0, 10.0):
        kernel = asin(2 * q * c / (1 + 2 * q)) / asin(2 * q / (1 + 2 * q))
        assert correlation_map(non_linearity("erf"), q, 1.0)(c) == pytest.approx(kernel, abs=3e-6)
    relu = correlation_map(non_linearity("relu"), 1.0, sqrt(2))
    assert relu(c) == pytest.approx((sqrt(1 - c * c) + c * (pi - np.arccos(c))) / pi, abs=1e-4)


def test_inputs_that_have_grown_alike_are_told_apart_far_below_rounding() -> None:
    """Near c = 1 the distance shrinks by C′(1) = χ₁ a layer, however small it is."""
    theta = non_linearity("sigmoid")
    q = fixed_point(theta, 1.0)
    following = correlation_map(theta, q, 1.0)
    for gap in (1e-6, 1e-30, 1e-120):
        assert following.distance(gap) / gap == pytest.approx(chi_1(theta, q, 1.0), rel=1e-5)
    assert following.slope(1.0) == pytest.approx(chi_1(theta, q, 1.0), rel=1e-9)


def test_a_jump_is_refused_with_its_place() -> None:
    """Its slope is infinite there; a kink, wherever it is, is none."""
    for place in ("0.3", "1", "0"):
        with pytest.raises(Discontinuous, match=rf"near z = {place}:"):
            tabulate(activation({"kind": "expression", "formula": f"z + sign(z - {place})"}))
    kinked = non_linearity({"kind": "expression", "formula": "max(0.3, z)"})
    assert kinked.slope_second(1.0) == pytest.approx(stats.norm.sf(0.3), abs=1e-8)


def test_saturation_is_the_normal_probability_of_the_flat_parts() -> None:
    """tanh: where 1 − tanh² < 0.1; the Gaussian has three such parts."""
    edge = np.arctanh(sqrt(0.9))
    assert non_linearity("tanh").saturation(4.0) == pytest.approx(2 * stats.norm.sf(edge / 2), rel=1e-3)
    z = np.random.default_rng(0).standard_normal(400_000) * 1.5
    slope = 2 * np.abs(z) * np.exp(-z * z)
    assert non_linearity("gaussian").saturation(2.25) == pytest.approx(np.mean(slope < 0.1 * sqrt(2 / np.e)), abs=3e-3)
    assert non_linearity("identity").saturation(1.0) == 0


def test_rates_of_shortcuts_and_small_batches() -> None:
    """A branch at α = 0 is not there; a highway with the gate shut carries; linear batch norm has its closed form."""
    theta = non_linearity("tanh")
    assert rates.residual(theta, 1.0, 1.0, 1.0, scale=0.0) == (1.0, 1.0)
    forward, backward = rates.residual(non_linearity("relu"), 1.0, 1.0, 1.0)
    assert (forward, backward) == pytest.approx((1.5, 1.5))
    assert rates.highway(theta, 1.0, 1.0, carry=1.0) == 1.0
    assert rates.highway(theta, 1.0, 1.0, carry=0.0) == chi_1(theta, 1.0, 1.0)
    assert rates.linear_batch_norm(5) == 1.5
    with pytest.raises(ValueError, match="more than 3"):
        rates.linear_batch_norm(3)


def test_the_scatter_of_a_deep_linear_product_is_that_of_finite_width() -> None:
    """log‖W_L⋯W_1 x‖ over 2000 draws, width 64, 16 layers: mean and deviation to first order in 1/n."""
    width, depth, draws = 64, 16, 2000
    generator = np.random.default_rng(1)
    # the squared norm of a normal matrix times a vector is that of the vector times χ²/n
    logs = 0.5 * np.log10(generator.chisquare(width, (draws, depth)) / width).sum(1)
    theta = non_linearity("identity")
    found = finite_width.spread(depth * finite_width.backward_variance(theta, 1.0, width))
    assert logs.mean() == pytest.approx(found.shift, abs=0.01)
    assert logs.std() == pytest.approx(found.deviation, rel=0.06)
    assert finite_width.backward_variance(theta, 1.0, width, orthogonal=True) == pytest.approx(0, abs=1e-12)
    assert finite_width.forward_variance(theta, 1.0, width) == pytest.approx(4 / width, rel=1e-6)


def test_the_length_map_goes_to_its_fixed_point() -> None:
    """From either side, also where it swings (the Gaussian's falls with q)."""
    for name in ("gaussian", "erf", "softplus"):
        theta = non_linearity(name)
        for q in (0.05, 20.0):
            for _ in range(200):
                q = length_map(theta, q, 1.0, 0.1)
            assert q == pytest.approx(fixed_point(theta, 1.0, 0.1), rel=1e-6)
    assert not isnan(fixed_point(non_linearity("selu"), 1.0))
