"""Non-linearities as a test names them, and the published table of their mean-field figures."""

import csv
from math import log
from pathlib import Path

from pydantic import TypeAdapter

from workers.contract.activations import ActivationSpec
from workers.theory.tabulated import Tabulated, tabulate

OTHERWISE: dict[str, object] = {
    "sigmoid_centred": "centred_sigmoid",
    "softplus_centred": {"kind": "scaled", "of": "softplus", "d": -log(2)},
    "gauss_exp(-x^2)": "gaussian",
    "gauss_exp(-x^2/2)": "gaussian_half",
    "cos": {"kind": "expression", "formula": "cos(z)"},
}
"""Names of the table that are none of the contract's."""

_READ: TypeAdapter[ActivationSpec] = TypeAdapter(ActivationSpec)


def activation(said: object) -> ActivationSpec:
    return _READ.validate_python(said)


def non_linearity(said: object) -> Tabulated:
    return tabulate(activation(said))


def table(block: str) -> list[dict[str, str]]:
    """Rows computed by another program, with adaptive quadrature at σ = 1 (`glorot_like`) or at χ₁ = 1 (`critical`)."""
    with (Path(__file__).parent / "reference" / "meanfield.csv").open() as lines:
        return [row for row in csv.DictReader(lines) if row["block"] == block]
