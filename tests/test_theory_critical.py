"""Where the edge of chaos is, whether one can live there, and what is recommended if not."""

from math import sqrt

import pytest
from theory_samples import OTHERWISE, activation, table

from workers.theory.critical import complaint, critical_of
from workers.theory.meanfield import chi_1, length_map
from workers.theory.tabulated import tabulate

ONE_SIDED = {("selu", "0")}
"""The table takes the slope left of the kink alone; z ~ N(0, q) sees both sides however small q is."""


@pytest.mark.parametrize("row", table("critical"), ids=lambda row: f"{row['activation']}-{row['sigma_b']}")
def test_the_table_of_critical_weights_is_reproduced(row: dict[str, str]) -> None:
    """σw, q*, χ_q, and that there is none or that it is unstable."""
    spec = activation(OTHERWISE.get(row["activation"], row["activation"]))
    found = critical_of(spec, float(row["sigma_b"]))
    if not row["sigma_w"]:
        assert found.status == "none"
        return
    assert (found.status == "unstable") == ("UNSTABLE" in row["note"])
    if (row["activation"], row["sigma_b"]) not in ONE_SIDED:
        assert found.sigma_w == pytest.approx(float(row["sigma_w"]), rel=1e-5)
    if row["q_star"] != "nan":
        assert found.q == pytest.approx(float(row["q_star"]), rel=2e-5, abs=1e-12)
    if row["chi_q"]:
        assert found.chi_q == pytest.approx(float(row["chi_q"]), rel=1e-4)


def test_closed_forms_of_the_gaussians() -> None:
    """exp(−z²): σw = 1 + 1/√2; exp(−z²/2): 1 + √2."""
    assert critical_of(activation("gaussian")).sigma_w == pytest.approx(1 + sqrt(0.5), rel=1e-8)
    assert critical_of(activation("gaussian_half")).sigma_w == pytest.approx(1 + sqrt(2), rel=1e-8)


def test_a_formula_of_ones_own_is_critical_where_chi_is_one() -> None:
    """χ₁ = 1 at a variance that the length map keeps."""
    spec = activation({"kind": "expression", "formula": "z*exp(-z**2/2)"})
    found, theta = critical_of(spec, 0.2), tabulate(spec)
    assert chi_1(theta, found.q, found.sigma_w) == pytest.approx(1, rel=1e-9)
    assert length_map(theta, found.q, found.sigma_w, 0.2) == pytest.approx(found.q, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "status", "remedy"),
    [
        ("softplus", "none", '{"kind": "normalised", "of": "softplus"} is critical at σw = 1.001'),
        ("gelu", "unstable", '{"kind": "normalised", "of": "gelu"} is critical'),
        ("sigmoid", "saturated", '"of": "sigmoid", "d": -0.5} is critical at σw = 4'),
        ("tanh", "found", None),
    ],
)
def test_what_is_of_no_use_is_refused_with_the_nearest_remedy(name: str, status: str, remedy: str | None) -> None:
    """Softplus has none, GELU's is unstable, the sigmoid's is saturated; the remedy can be written into a request as it is."""
    spec = activation(name)
    assert critical_of(spec).status == status
    told = complaint(spec)
    assert told is None if remedy is None else told is not None and remedy in told
