"""Non-linearities: by name, as a formula, scaled and normalised; one definition for theory and training."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from api_server import SPEC, Service, serving
from engine_samples import mlp, program, shard
from pydantic import TypeAdapter, ValidationError
from reference.networks import ACTIVATIONS as TWINS
from scipy.integrate import quad
from torch import Tensor, nn

from workers.contract.activations import MAX_COMPOSED, ActivationSpec, Normalised, expression_of
from workers.contract.expectations import moments
from workers.contract.expressions import compiled, derivative
from workers.contract.nonlinearities import NAMED, Named
from workers.engine.activations import NON_LINEARITIES, TORCH, NonLinearity, non_linearity, of_expression
from workers.engine.network import Linear
from workers.engine.train import differentiate

ACTIVATION: TypeAdapter[ActivationSpec] = TypeAdapter(ActivationSpec)
EXAMPLE = Path(__file__).parents[1] / "examples" / "expression-digits.json"
EDGES = (0.0, 1.0, 3.0)
"""Where a hand-written kink and that of the formula may round to different sides."""


def read(body: Any) -> ActivationSpec:
    return ACTIVATION.validate_python(body)


def of(body: Any) -> NonLinearity:
    return non_linearity(read(body))


def grid(least: float = -30.0, most: float = 30.0) -> Tensor:
    """float64, without the places where there is no derivative."""
    z = torch.linspace(least, most, 6001, dtype=torch.float64)
    return z[torch.stack([(z.abs() - edge).abs() > 1e-9 for edge in EDGES]).all(0)]


def kind_of(spec: type[Named]) -> str:
    kind: str = spec.model_fields["kind"].default
    return kind


# body: the same by torch.nn or by hand
COMPOSED: dict[str, tuple[Any, Any]] = {
    "a sum": ({"kind": "expression", "formula": "tanh(z) + 0.1*z"}, lambda z: torch.tanh(z) + 0.1 * z),
    "a Gaussian's flank": ({"kind": "expression", "formula": "z*exp(-z**2/2)"}, lambda z: z * torch.exp(-z * z / 2)),
    "leaky": ({"kind": "expression", "formula": "where(z>0, z, 0.1*z)"}, nn.LeakyReLU(0.1)),
    "silu": ({"kind": "expression", "formula": "z/(1 + exp(-z))"}, nn.SiLU()),
    "mish": ({"kind": "expression", "formula": "z*tanh(log(1 + exp(z)))"}, nn.Mish()),
    "softplus": ({"kind": "expression", "formula": "log(1 + exp(z))"}, nn.Softplus(threshold=100)),
    "a parabola": ({"kind": "expression", "formula": "z**2/2"}, lambda z: z * z / 2),
    "z alone": ({"kind": "expression", "formula": "z"}, nn.Identity()),
    "leaky relu": ({"kind": "leaky_relu", "negative_slope": -0.3}, nn.LeakyReLU(-0.3)),
    "elu": ({"kind": "elu", "alpha": 0.5}, nn.ELU(0.5)),
    "celu": ({"kind": "celu", "alpha": 2}, nn.CELU(2.0)),
    "scaled": (
        {"kind": "scaled", "of": "tanh", "a": 1.7159, "b": 2 / 3, "c": 0.25, "d": -0.5},
        lambda z: 1.7159 * torch.tanh(2 / 3 * z + 0.25) - 0.5,
    ),
    "a scaled formula": (
        {"kind": "scaled", "of": {"kind": "expression", "formula": "sin(z)*z"}, "a": -2, "c": 1},
        lambda z: -2 * torch.sin(z + 1) * (z + 1),
    ),
    "normalised": ({"kind": "normalised", "of": "sigmoid"}, lambda z: (torch.sigmoid(z) - 0.5) * 4.801313372039963),
    "normalised, scaled": (
        {"kind": "normalised", "of": {"kind": "scaled", "of": "relu", "a": 3}},
        lambda z: (torch.relu(z) - 1 / math.sqrt(2 * math.pi)) / math.sqrt(0.5 - 0.5 / math.pi),
    ),
}


@pytest.mark.parametrize("spec", NAMED, ids=kind_of)
def test_the_formula_shown_is_the_one_computed(spec: type[Named]) -> None:
    """Value, slope, δ·slope and the largest slope by hand are those of the catalogue's formula and of its derivative."""
    by_hand, z = NON_LINEARITIES[kind_of(spec)], grid()
    formula = of_expression(expression_of(read(kind_of(spec))), 0.0)
    a, delta = by_hand.value(z), torch.cos(5 * z)
    slope = formula.derivative(z, a)
    torch.testing.assert_close(a, formula.value(z), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(by_hand.derivative(z, a), slope, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(by_hand.backward(delta, z, a), delta * slope, rtol=1e-10, atol=1e-12)
    assert slope.abs().max().item() <= by_hand.steepest * (1 + 1e-12)


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_ones_are_what_they_say(name: str) -> None:
    """Value and slope against torch.nn or the formula by hand and autograd, float64, 1e-10."""
    body, twin = COMPOSED[name]
    own, z = of(body), grid(-12, 12)
    asked = z.clone().requires_grad_()
    expected = twin(asked)
    (slope,) = torch.autograd.grad(expected.sum(), asked)
    a = own.value(z)
    torch.testing.assert_close(a, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(own.derivative(z, a), slope, rtol=1e-10, atol=1e-12)
    before = z.clone()
    torch.testing.assert_close(own.backward(torch.full_like(z, 3), z, a), 3 * slope, rtol=1e-10, atol=1e-12)
    assert torch.equal(z, before), "the backward pass wrote into z"
    near = grid(-10, 10)
    assert own.steepest == pytest.approx(own.derivative(near, own.value(near)).abs().max().item(), rel=1e-3)


class _Own(torch.autograd.Function):
    """A non-linearity of ours as autograd sees it."""

    @staticmethod
    def forward(context: Any, z: Tensor, own: NonLinearity) -> Tensor:
        context.own, a = own, own.value(z)
        context.save_for_backward(z, a)
        return a

    @staticmethod
    def backward(context: Any, delta: Tensor) -> tuple[Tensor, None]:
        return context.own.backward(delta.clone(), *context.saved_tensors), None


@pytest.mark.parametrize("body", [*NON_LINEARITIES, *(body for body, _ in COMPOSED.values())], ids=str)
def test_gradcheck(body: Any) -> None:
    """The product δ·θ′ is the finite difference of the value."""
    z = torch.tensor([-4.1, -2.3, -0.7, -0.2, 0.3, 0.9, 2.2, 5.3], dtype=torch.float64, requires_grad=True)
    own: Any = _Own
    assert torch.autograd.gradcheck(lambda x: own.apply(x, of(body)), (z,), atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("body", [*NON_LINEARITIES, *(body for body, _ in COMPOSED.values())], ids=str)
def test_far_out(body: Any, dtype: torch.dtype) -> None:
    """At 0 and ±1e4 value and slope are finite numbers of the same type; at ±∞ the value is torch's own, where torch has it."""
    own = of(body)
    z = torch.tensor([-1e4, 0.0, 1e4], dtype=dtype)
    a = own.value(z)
    for found in (a, own.derivative(z, a), own.backward(torch.ones_like(z), z, a)):
        assert found.isfinite().all()
        assert found.dtype == dtype
    if isinstance(body, str) and type(twin := TWINS[body]()).__module__.startswith("torch.nn"):
        infinite = torch.tensor([-math.inf, math.inf, math.nan], dtype=dtype)
        torch.testing.assert_close(own.value(infinite), twin(infinite), equal_nan=True)


def test_a_formula_trains_as_the_named_one_does() -> None:
    """The gradients of a whole network are the same, whichever way its non-linearity is written."""
    scaled = {"kind": "scaled", "of": "tanh", "a": 1.7159, "b": 2 / 3}
    ways: list[Any] = ["lecun_tanh", scaled, {"kind": "expression", "formula": "1.7159*tanh(2*z/3)"}]
    gradients = []
    for activation in ways:
        planned = program(shard(mlp(activation), seeds=(0, 1)))
        differentiate(planned, *planned.batches.at(0))
        gradients.append(
            torch.cat([one.weight_gradient.flatten() for one in planned.layers if isinstance(one, Linear)])
        )
    assert gradients[0].abs().sum() > 0
    for found in gradients[1:]:
        torch.testing.assert_close(found, gradients[0], rtol=1e-10, atol=1e-12)


def test_constants_of_a_name_are_those_of_its_formula() -> None:
    """With its own constants a name is computed as by the hand-written one; with others by the formula."""
    assert of({"kind": "elu", "alpha": 1.0}) is NON_LINEARITIES["elu"]
    assert of({"kind": "elu", "alpha": 0.5}) is not NON_LINEARITIES["elu"]


# SIGNALS.md's and DeepMind's dks figures: 1/std of θ(N(0, 1))
GAINS = {
    "tanh": 1.59254,
    "sigmoid": 4.80131,
    "softplus": 1.91913,
    "softsign": 2.33753,
    "silu": 1.78719,
    "gelu": 1.70093,
    "selu": 1.0,
}


@pytest.mark.parametrize("kind", GAINS)
def test_moments_are_the_published_gains(kind: str) -> None:
    """1/std for a standard normal pre-activation; SELU's is 1 and its mean 0, by its making."""
    mean, std = moments(expression_of(read(kind)))
    assert 1 / std == pytest.approx(GAINS[kind], abs=5e-6)
    assert kind != "selu" or abs(mean) < 1e-12


@pytest.mark.parametrize("body", [*NON_LINEARITIES, {"kind": "scaled", "of": "hard_tanh", "b": 7, "c": 0.3}], ids=str)
def test_normalised_has_zero_mean_and_unit_variance(body: Any) -> None:
    """For a standard normal pre-activation, by scipy's adaptive quadrature of the engine's value."""
    own = of({"kind": "normalised", "of": body})

    def moment(power: int) -> float:
        def integrand(z: float) -> float:
            value = own.value(torch.tensor([z], dtype=torch.float64)).item()
            return float(value**power * math.exp(-z * z / 2) / math.sqrt(2 * math.pi))

        edges = (-9, -3, -1.3 / 7, 0, 0.1, 3, 9)  # kinks between two pieces
        found = [quad(integrand, *ends, epsabs=1e-11, limit=60)[0] for ends in pairwise(edges)]
        return float(math.fsum(found))

    tolerance = 1e-9
    assert moment(1) == pytest.approx(0, abs=tolerance)
    assert moment(2) == pytest.approx(1, abs=tolerance)


def test_what_cannot_be_normalised_is_said() -> None:
    """A non-linearity without a variance has no normalised form."""
    with pytest.raises(ValidationError, match="no variance"):
        Normalised.model_validate({"of": {"kind": "expression", "formula": "exp(z**2)"}})


def test_theory_and_training_share_one_definition() -> None:
    """A derivative of a derivative stays small enough to evaluate, for every name there is."""
    z = grid(-5, 5)
    for spec in NAMED:
        twice = compiled(derivative(derivative(expression_of(read(kind_of(spec))))), TORCH)(z)
        own = NON_LINEARITIES[kind_of(spec)]
        h = 1e-5
        slopes = [own.derivative(at, own.value(at)) for at in (z + h, z - h)]
        smooth = ((z.abs() - 1).abs() > 1e-3) & ((z.abs() - 3).abs() > 1e-3) & (z.abs() > 1e-3)
        torch.testing.assert_close(twice[smooth], ((slopes[0] - slopes[1]) / (2 * h))[smooth], rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


def post(service: Service, activation: Any) -> Any:
    network = {"kind": "mlp", "depth": 2, "width": 4, "activation": activation}
    return service.client.post(
        "/v1/comparisons",
        content=json.dumps(SPEC | {"network": network}),
        headers={"Content-Type": "application/json"},
    )


def expression(formula: Any) -> dict[str, Any]:
    return {"kind": "expression", "formula": formula}


# name: (the activation, the pointer below /network/activation, a word of the message)
BAD: dict[str, tuple[Any, str, str]] = {
    "a typing error": (expression("tnah(z)"), "/formula", "did you mean tanh?, at character 1"),
    "attributes": (expression("z.__class__"), "/formula", "character 2"),
    "no z": (expression("3"), "/formula", "no gradient"),
    "steps": (expression("sign(z)"), "/formula", "no gradient"),
    "half of the line": (expression("log(z)"), "/formula", "no finite number"),
    "overflow nearby": (expression("exp(exp(exp(z**2)))"), "/formula", "no finite number"),
    "too long": (expression("z+" * 300 + "z"), "/formula", "500"),
    "empty": (expression(""), "/formula", "empty"),
    "a number": (expression(3), "/formula", "text"),
    "a lone surrogate": (expression("z + \ud800"), "/formula", ""),
    "no formula": ({"kind": "expression"}, "/formula", "missing"),
    "a bare expression": ("expression", "", "formula"),
    "another field": ({**expression("z"), "fromula": "z"}, "/fromula", "formula"),
    "scaled by nothing": ({"kind": "scaled", "of": "tanh", "a": 0}, "", "no gradient"),
    "scaled without of": ({"kind": "scaled"}, "/of", "missing"),
    "scaled of an unknown": ({"kind": "scaled", "of": "tahn"}, "/of", "did you mean 'tanh'"),
    "scaled of scaled": ({"kind": "scaled", "of": {"kind": "scaled", "of": "tanh"}}, "/of/kind", "tanh"),
    "scaled, a bad formula": ({"kind": "scaled", "of": expression("y")}, "/of/formula", "character 1"),
    "scaled too far": ({"kind": "scaled", "of": "tanh", "b": 1e7}, "/b", "at most"),
    "scaled by a text": ({"kind": "scaled", "of": "tanh", "b": "2"}, "/b", "number"),
    "a constant that learns twice": (
        {"kind": "scaled", "of": "tanh", "trainable": ["a", "a"]},
        "/trainable",
        "once is enough",
    ),
    "a constant that there is not": ({"kind": "scaled", "of": "tanh", "trainable": ["e"]}, "/trainable/0", "'a'"),
    "a penalty on nothing": ({"kind": "scaled", "of": "tanh", "penalty": 0.1}, "", "name them in `trainable`"),
    "normalised, what learns": (
        {"kind": "normalised", "of": {"kind": "scaled", "of": "tanh", "trainable": ["a"]}},
        "",
        "leave `trainable` out",
    ),
    "shaped, an unknown method": ({"kind": "shaped", "of": "tanh", "method": "dsk"}, "/method", "did you mean 'dks'"),
    "shaped of scaled": ({"kind": "shaped", "of": {"kind": "scaled", "of": "tanh"}}, "/of/kind", "tanh"),
    "shaped towards nothing": ({"kind": "shaped", "of": "tanh", "target": 1}, "", "above 1"),
    "shaped, steps": ({"kind": "shaped", "of": expression("z + sign(z)")}, "", "jumps near z = 0"),
    "normalised, no variance": ({"kind": "normalised", "of": expression("exp(z**2)")}, "", "no variance"),
    "normalised, a bad formula": ({"kind": "normalised", "of": expression("z**z")}, "/of/formula", "character 4"),
    "elu": ({"kind": "elu", "alpha": 0}, "/alpha", "above 0"),
    "leaky relu": ({"kind": "leaky_relu", "slope": 0.1}, "/slope", "negative_slope"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_words(service: Service, name: str) -> None:
    """422 with a pointer to the field, the reason and what to change."""
    activation, pointer, word = BAD[name]
    answer = post(service, activation)
    assert answer.status_code == 422
    first = answer.json()["errors"][0]
    assert first["pointer"] == f"/network/activation{pointer}"
    assert word in first["message"]


SCRAPS: list[Any] = [
    None, True, 0, -1, 1e308, "", "tanh", "z", "exp(exp(z**9))", "z" * 600, "(" * 200, "1/z", "__import__('os')", "z\x00", "😀",
    [], ["tanh"], {}, {"kind": None}, {"kind": "expression"}, {"kind": []}, {"": {}}, "where(z>0,z,z**z)", "9**9**9**9", ["a", "d"], "unit",
]  # fmt: skip
FIELDS = [
    "kind",
    "of",
    "formula",
    "a",
    "b",
    "c",
    "d",
    "alpha",
    "negative_slope",
    "method",
    "target",
    "trainable",
    "per",
    "penalty",
    "__proto__",
    "x/y~z",
]
KINDS = ["expression", "scaled", "normalised", "shaped", "elu", "tanh", "leaky_relu", "nothing"]


def hostile(draw: random.Random, levels: int = 3) -> Any:
    """An activation that is nearly right somewhere and wrong elsewhere."""
    body: dict[str, Any] = {"kind": draw.choice(KINDS)}
    for field in draw.sample(FIELDS, draw.randint(0, 4)):
        body[field] = hostile(draw, levels - 1) if levels and draw.random() < 0.4 else draw.choice(SCRAPS)
    if draw.random() < 0.5:
        body["of"] = hostile(draw, levels - 1) if levels else draw.choice(SCRAPS)
    return body


def test_hostile_activations_are_refused_and_never_a_fault(service: Service) -> None:
    """400 generated ones: 422 with pointers into the activation, or 202 for the few that are right."""
    draw, refused = random.Random(6), 0  # noqa: S311
    for _ in range(400):
        body = hostile(draw)
        answer = post(service, body)
        assert answer.status_code in (202, 422), (answer.status_code, body)
        if answer.status_code == 422:
            refused += 1
            errors = answer.json()["errors"]
            assert errors, body
            assert all(error["pointer"].startswith("/network/activation") and error["message"] for error in errors), (
                body
            )
    assert refused >= 300


def test_deep_nesting_is_refused(service: Service) -> None:
    """A thousand scalings inside one another are no fault of ours."""
    nested = '{"kind": "scaled", "of": ' * 1000 + '"tanh"' + "}" * 1000
    body = json.dumps(SPEC | {"network": {"kind": "mlp", "depth": 2, "width": 4, "activation": 0}})
    content = body.replace('"activation": 0', f'"activation": {nested}')
    answer = service.client.post("/v1/comparisons", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


def test_many_formulas_do_not_hold_the_service_up(service: Service) -> None:
    """Thousands of formulas in one body are refused before one is checked; as many as are allowed are checked while the client waits."""

    def network(count: int) -> dict[str, Any]:
        own = [expression(f"sin(1000*z) + sin(z*exp(-z*z))*{index}") for index in range(count)]
        listed = [{"kind": "activation", "activation": {"kind": "normalised", "of": each}} for each in own]
        return SPEC | {"network": {"kind": "layers", "layers": [{"kind": "linear", "out_features": 4}, *listed]}}

    for count in (1900, MAX_COMPOSED // 2):
        answer = service.client.post("/v1/comparisons", json=network(count), timeout=60)
        assert answer.status_code == 422  # of so fast a sine no mean is found
    message = service.client.post("/v1/comparisons", json=network(1900)).json()["errors"][0]["message"]
    assert f"more than {MAX_COMPOSED} different formulas" in message


@pytest.mark.timeout(60)
def test_many_long_formulas_are_checked_in_time() -> None:
    """A hundred different formulas of the largest size are read before the suite's patience ends."""
    terms = " + ".join(["sin(z*exp(-z*z))"] * 15)
    for index in range(100):
        assert read(expression(f"{terms} + {index}*z"))


def test_the_example_trains_where_normalised(tmp_path: Path) -> None:
    """A squared sigmoid, six deep, stays at chance under SGD; normalised, the same formula trains, through the command line."""
    command = ["compare", str(EXAMPLE), "--out", str(tmp_path / "results"), "--data", str(tmp_path / "data")]
    done = subprocess.run([sys.executable, "-m", "service", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results" / "result.json").read_text())
    arms = {(arm["variant"], arm["optimizer"]): arm for arm in result["arms"]}
    assert arms["base", "sgd"]["test_accuracy"]["iqm"] < 0.2
    assert arms["base", "sgd"]["diagnosis"]["at_step_0"]["verdict"] == "vanishing"
    assert arms["normalised", "sgd"]["test_accuracy"]["iqm"] > 0.9
    assert arms["normalised", "sgd"]["diagnosis"]["at_step_0"]["verdict"] == "healthy"
