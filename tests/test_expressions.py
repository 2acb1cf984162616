"""Formulas: read as Python reads them, differentiated as autograd does, refused in words and in bounded time."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from workers.contract.expressions import FLOATS, NAMED, Expression, Functions, compiled, derivative, size, substitute
from workers.contract.formulas import MAX_LENGTH, MAX_NODES, FormulaError, parse

NUMPY: Functions = {
    **{name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "tanh", "sin", "cos")},
    "arctan": np.arctan,
    "sigmoid": special.expit,
    "softplus": lambda z: np.logaddexp(0, z),
    "erf": special.erf,
    "max": np.maximum,
    "min": np.minimum,
    "where": np.where,
    "constant": np.full_like,
}  # fmt: skip

Z = np.linspace(-30, 30, 801) + 1e-3

PYTHON = {
    "z": Z, "pi": math.pi, "e": math.e,
    **{name: function for name, function in NUMPY.items() if name != "constant"},
}  # fmt: skip

FORMULAS = [
    "z",
    "-z",
    "3 - z",
    "tanh(z) + 0.1*z",
    "z*exp(-z**2/2)",
    "(1 - z**2)*exp(-z**2/2)",
    "where(z > 0, z, 0.1*z)",
    "where(z == 0, 1, sin(z)/z)",
    "where(z*z < 1, 1 - abs(z), 0)",
    "where(z > 0, log(1 + abs(z)), -1)",
    "where(z <= 0, 1, 0)*where(2 > 1, z, 0)",
    "1/(1 + exp(-z))",
    "z/(exp(-z) + 1)",
    "log(1 + exp(z))",
    "z/(1 + abs(z))",
    "max(-1, min(1, z))",
    "max(z, 0.1*z) + min(sin(z), cos(z))",
    "(sqrt(z**2 + 1) - 1)/2 + z",
    "z*tanh(softplus(z))",
    "erf(z) - 2*-z/pi",
    "sigmoid(2*z)*arctan(z)",
    "2**sin(z) - e**-abs(z)",
    "sign(z)*log1p(abs(z))",
    "expm1(min(z, 0))",
    "(z**2 + 1)**-0.5*z**3",
    "z - z**2 - (1 - (2 - z)) / 4 / 2",
    "-z**2 + 2*3**2*z*0.5*(4*z)",
    ".5e0*z + 1.*+z",
]


def value(tree: Expression, z: Any, functions: Functions = NUMPY) -> Any:
    with np.errstate(all="ignore"):
        return compiled(tree, functions)(z)


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_means_what_python_reads(formula: str) -> None:
    """On arrays, at one float after another, and in Python's own evaluation: the same value."""
    with np.errstate(all="ignore"):
        expected = np.broadcast_to(eval(formula, {"__builtins__": {}}, PYTHON), Z.shape)  # noqa: S307
    np.testing.assert_allclose(value(parse(formula), Z), expected, rtol=1e-13, atol=1e-14)
    floats = [value(parse(f"  {formula} "), z, FLOATS) for z in Z.tolist()]
    np.testing.assert_allclose(floats, expected, rtol=1e-12, atol=1e-14)


TORCH: Functions = {
    **{name: getattr(torch, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "tanh", "sin", "cos")},
    **{name: getattr(torch, name) for name in ("arctan", "sigmoid", "erf", "where")},
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
    "max": lambda a, b: torch.maximum(a, torch.as_tensor(b, dtype=a.dtype)),
    "min": lambda a, b: torch.minimum(a, torch.as_tensor(b, dtype=a.dtype)),
    "constant": torch.full_like,
}  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS)
def test_derivatives_are_autograds(formula: str) -> None:
    """First and second derivative of the tree against autograd through the value's and the first derivative's tree."""
    tree = parse(formula)
    for _ in range(2):
        z = torch.linspace(-8, 8, 401, dtype=torch.float64).add_(1e-3).requires_grad_()
        y = compiled(tree, TORCH)(z)
        expected = torch.autograd.grad(y.sum(), z)[0] if y.requires_grad else torch.zeros_like(z)
        tree = derivative(tree)
        np.testing.assert_allclose(value(tree, z.detach().numpy()), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("formula", FORMULAS)
def test_far_out_slopes_are_numbers(formula: str) -> None:
    """No 0·∞ and no ∞/∞ at ±10⁴ and at 0, also where the other side of a `where` overflows."""
    found = value(derivative(parse(formula)), np.array([-1e4, 0.0, 1e4]))
    assert np.isfinite(found).all(), found


def test_kinks_and_vertical_slopes() -> None:
    """At a kink the slope of a side or their mean; at the foot of a root zero; a branch not taken may be NaN."""
    at_zero = {
        "abs(z)": 0, "sqrt(abs(z))": 0, "abs(z)**0.5": 0, "max(0, z)": 0, "min(z, 0)": 0, "where(z >= 0, z, 0)": 1,
        "where(z > 0, sqrt(z), 2*z)": 2, "where(z == 0, z, 1/z)": 1, "where(z < 1, z, log(z - 2))": 1,
    }  # fmt: skip
    for formula, expected in at_zero.items():
        assert value(derivative(parse(formula)), np.zeros(1)) == expected, formula


def test_a_constant_has_the_shape_and_type_of_z() -> None:
    """Also where a `where` has numbers on both sides."""
    z = np.zeros((2, 3), np.float32)
    for formula in ("pi", "where(z > 0, 1, 0)", "0*z"):
        found = value(parse(formula), z)
        assert (found.shape, found.dtype) == ((2, 3), np.float32), formula


def test_substitution_is_composition() -> None:
    """θ(2z + 1) where θ is a formula."""
    outer, inner = parse("z*tanh(z) + where(z > 0, z, 1)"), parse("2*z + 1")
    np.testing.assert_allclose(value(substitute(outer, inner), Z), value(outer, 2 * Z + 1))


def test_equal_parts_are_computed_once() -> None:
    """A Gaussian's derivative needs the exponential of its value, and one only."""
    exponents = []

    def exp(z: Any) -> Any:
        exponents.append(z)
        return np.exp(z)

    value(derivative(parse("z*exp(-z**2) + exp(-z**2)")), Z, {**NUMPY, "exp": exp})
    assert len(exponents) == 1


def test_names_may_stand_for_numbers() -> None:
    """As the slope of a leaky ReLU does in its formula."""
    tree = parse("where(z > 0, z, negative_slope*z)", {"negative_slope": 0.25})
    assert value(tree, -2.0, FLOATS) == -0.5


# formula: (0-based place or None for the whole, a word of the reason)
REFUSED: dict[str, tuple[int | None, str]] = {
    "": (None, "empty"),
    "   ": (None, "empty"),
    "z" * (MAX_LENGTH + 1): (None, "shorten"),
    "z" * MAX_LENGTH: (0, "no function"),
    "x + 1": (0, "called z"),
    "  z + y": (6, "no function"),
    "tnah(z)": (0, "did you mean tanh"),
    "relu(z)": (0, "max(0, z)"),
    "z^2": (1, "**"),
    "z.real": (1, "point"),
    "(1).__class__": (3, "point"),
    "().__class__.__bases__[0]": (2, "point"),
    "__import__('os').system('true')": (0, "no function"),
    "eval('1')": (0, "no function"),
    "'z'": (0, "not allowed"),
    "z[0]": (1, "not allowed"),
    "{z}": (0, "not allowed"),
    "z; z": (1, "not allowed"),
    "z := 3": (2, "not allowed"),
    "z = 3": (2, "not allowed"),
    "z\nz": (1, "not allowed"),
    "z\x00": (1, "not allowed"),
    "z²": (1, "z**2"),
    "−z": (0, "minus"),
    "lambda: z": (0, "no function"),
    "z if z else 1": (2, "where"),
    "z and z": (2, "where"),
    "max(*z)": (0, "2 arguments"),
    "max(*z, *z)": (4, "not allowed"),
    "max(z)": (0, "2 arguments"),
    "tanh()": (0, "1 argument"),
    "tanh": (0, "tanh("),
    "2(z)": (0, "not allowed"),
    "z(2)": (0, "z*("),
    "pi(2)": (0, "pi*("),
    "tanh(z)(z)": (0, "not allowed"),
    "z z": (2, "missing"),
    "z +": (0, "missing"),
    "* z": (0, "missing"),
    "z // 2": (0, "not allowed"),
    "(z, z)": (0, "not allowed"),
    "()": (0, "not allowed"),
    "((z)": (0, "never closed"),
    "z)": (1, "closes nothing"),
    ")z(": (0, "closes nothing"),
    "z > 0": (0, "where"),
    "where(z, 1, 0)": (6, "comparison"),
    "where(0 < z < 1, 1, 0)": (6, "one comparison"),
    "where(z > 0, z)": (0, "3 arguments"),
    "where(z > where(z > 0, 1, 2) > 3, z, z)": (6, "one comparison"),
    "z**z": (3, "exp("),
    "(-2)**z": (6, "exp("),
    "z**65": (3, "exponents"),
    "z**-1e9": (3, "exponents"),
    "9**9**9**9*z": (6, "exponents"),
    "z + 1/0": (4, "zero"),
    "z/(1 - 1)": (0, "zero"),
    "z*log(0)": (2, "finite"),
    "z*exp(1000)": (2, "finite"),
    "z*sqrt(-1)": (2, "finite"),
    "z*(0-8)**0.5": (2, "finite"),
    "1e13*z": (0, "1e+12"),
    "1e999*z": (0, "1e+12"),
    "9" * 400: (0, "1e+12"),
    "0777*z": (0, "missing"),
    "1_0*z": (1, "no function"),
    "0x10*z": (1, "no function"),
    "1j*z": (1, "no function"),
    "(" * 40 + "z" + ")" * 40: (32, "parentheses"),
    "-" * 400 + "z": (33, "inside one another"),
    "sin(" * 33 + "z" + ")" * 33: (131, "parentheses"),
    "+".join("z" * 250): (0, "inside one another"),
    "+".join(["(" + "+".join("z" * 20) + ")"] * 10): (None, "parts"),
}


@pytest.mark.parametrize("formula", REFUSED)
def test_what_cannot_be_is_told_with_its_place(formula: str) -> None:
    """The place, the reason and what to change."""
    place, word = REFUSED[formula]
    with pytest.raises(FormulaError) as refused:
        parse(formula)
    assert word in str(refused.value)
    if place is not None or word in ("empty", "shorten"):
        assert refused.value.position == place, str(refused.value)


PIECES = [
    *NAMED, "z", "where", "pi", "z", "(", ")", "(", ")", ",", "+", "-", "*", "/", "**", "<", ">", "==", "=", "1", "0",
    "2.5", "1e9", "1e400", "64", ".", "__class__", "lambda", ":", "'", '"', "[", "]", "{", "\\", "\n", "\x00", "é", "𝟘", "if",
    "for", "await", "yield", "None", "_", "0x", "#", "@", "!", "%", ";", "$", "`", " ", "\ud800",
]  # fmt: skip


def hostile(seed: int) -> str:
    """Anything from a single sign to nonsense longer than allowed, half of it well bracketed."""
    draw = random.Random(seed)  # noqa: S311
    text = "".join(draw.choices(PIECES, k=draw.randint(1, 120)))
    if seed % 2:
        opening = draw.choice(["(", "sin(", "max(z,", "where(z>0,z,", "-", "z**(", "1+(", "z*(1/"])
        deep = draw.randint(1, 60)
        text = opening * deep + draw.choice(["z", "z**9", "1/0", text[:20]]) + ")" * (deep * opening.count("("))
    return text


def test_nothing_hostile_gets_through_and_nothing_grows() -> None:
    """2000 generated texts: each is refused in words, or is a formula with a value and derivatives, whose size is bounded."""
    refused = 0
    for seed in range(2000):
        formula = hostile(seed)
        try:
            tree = parse(formula)
            slope = derivative(derivative(tree))
        except FormulaError:
            refused += 1
        except ArithmeticError:
            pass  # a derivative of huge numbers; the activation's spec tells it
        else:
            assert isinstance(value(slope, 0.3, FLOATS), float)
            assert size(slope) < 40 * MAX_NODES, formula
    assert 1000 < refused < 2000
