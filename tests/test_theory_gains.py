"""`"gain": "critical"`: numbers by the time anything is planned, right ones, and refusals that help."""

from math import sqrt
from typing import Any

import pytest
from analysis_samples import comparison

from service.errors import Problem
from service.validation import read_comparison
from workers.analysis.predicted import predict
from workers.analysis.protocol import first_round
from workers.contract.checks import Limits
from workers.contract.initialisers import INITIALISERS
from workers.contract.layers import Linear
from workers.theory.resolution import networks, resolved
from workers.theory.weights import sigma_w


def body(**network: Any) -> dict[str, Any]:
    return {
        "problem": "digits",
        "network": {"kind": "mlp", "depth": 100, "width": 48, **network},
        "optimizers": ["sgd"],
    }


def refusals(asked: dict[str, Any]) -> dict[str, str]:
    """Pointer -> message."""
    with pytest.raises(Problem) as refused:
        read_comparison(asked, Limits())
    return {wrong.pointer or "": wrong.message for wrong in refused.value.errors}


@pytest.mark.parametrize("init", [kind for kind in INITIALISERS if kind.takes_critical], ids=lambda init: init.__name__)
def test_every_kind_reaches_the_critical_variance_whatever_the_shape(init: Any) -> None:
    """σw is the non-linearity's in each layer, the first included, which is wider than those above; the output keeps gain 1."""
    kind = init.model_fields["kind"].default
    spec = read_comparison(body(init={"kind": kind, "gain": "critical"}, activation="centred_sigmoid"), Limits())
    *hidden, output = (layer for layer in networks(spec)["base"] if layer.init is not None)
    for layer in hidden:
        assert layer.init is not None
        assert sigma_w(layer.init, layer.out_shape[0], layer.in_shape[0]) == pytest.approx(4, rel=1e-9)
    assert output.init is not None and output.init.gain == 1


@pytest.mark.parametrize("activation", ["tanh", "centred_sigmoid", "gaussian", "softsign", "erf", "sin", "relu"])
@pytest.mark.parametrize("bias_std", [None, 0.2])
def test_a_hundred_layers_keep_their_signal(activation: str, bias_std: float | None) -> None:
    """At the edge of chaos the forecast loses less than two decades and a half over a hundred layers (a power of depth, for odd ones)."""
    if activation == "relu" and bias_std:
        return
    init = {"kind": "orthogonal", "gain": "critical", "bias_std": bias_std}
    spec = read_comparison(body(init=init, activation=activation), Limits())
    told = predict(networks(spec)["base"], spec.problem, 128, "float32")
    assert told.decades is not None and abs(told.decades) < 2.5


def test_biases_that_centre_make_a_sigmoid_critical() -> None:
    """½ taken out by the biases is the centred sigmoid: σw is 4 in every layer, the first included, whose own bias takes nothing out."""
    init = {"kind": "orthogonal", "gain": "critical", "input_mean": 0.5}
    *hidden, _ = (
        layer
        for layer in networks(read_comparison(body(init=init, activation="sigmoid"), Limits()))["base"]
        if layer.init
    )
    assert len(hidden) == 100
    for layer in hidden:
        assert layer.init is not None
        assert sigma_w(layer.init, layer.out_shape[0], layer.in_shape[0]) == pytest.approx(4, rel=1e-9)


def test_what_is_planned_has_numbers() -> None:
    """Shards, as workers get them; the request keeps the word."""
    spec = comparison(
        "sgd", network={"kind": "mlp", "depth": 2, "width": 64, "init": {"kind": "orthogonal", "gain": "critical"}}
    )
    first, _, second = first_round(spec).shards[0].network[:3]
    assert first.init is not None and second.init is not None
    # thirteen inputs spread over 64 orthonormal columns are small
    assert (first.init.gain, second.init.gain) == pytest.approx((sqrt(64 / 13), 1))
    assert spec.model_dump()["network"]["init"]["gain"] == "critical"


def test_dropout_and_layers_of_their_own() -> None:
    """Dropout takes its share of the variance; a layer of its own may be critical where others are not."""
    critical = {"kind": "lecun_normal", "gain": "critical"}
    linear = {"kind": "linear", "out_features": 32}
    asked = body()
    asked["network"] = {
        "kind": "layers",
        "layers": [
            linear,
            {"kind": "activation", "activation": "tanh"},
            {"kind": "dropout", "p": 0.19},
            {**linear, "init": critical},
            {"kind": "activation", "activation": "gelu"},
        ],
        "init": "lecun_normal",
    }
    layers = [layer for layer in networks(read_comparison(asked, Limits()))["base"] if isinstance(layer.spec, Linear)]
    assert [layer.init.gain for layer in layers if layer.init] == pytest.approx([1, sqrt(0.81), 1])
    assert resolved(layers) == layers


@pytest.mark.parametrize(
    ("activation", "said"),
    [("softplus", "no critical initialisation"), ("gelu", "unstable"), ("sigmoid", "most units are saturated")],
)
def test_what_would_not_help_is_refused_with_a_remedy_that_does(activation: str, said: str) -> None:
    """The place, the reason, and a non-linearity that can be written in its stead, for which it works."""
    critical = {"kind": "orthogonal", "gain": "critical"}
    told = refusals(body(init=critical, activation=activation))
    assert list(told) == ["/network/init/gain"]
    assert said in told["/network/init/gain"] and 'it, {"kind": ' in told["/network/init/gain"]
    variant = body(activation=activation) | {"variants": {"a/b": {"init": critical}}}
    assert list(refusals(variant)) == ["/variants/a~1b/init/gain"]
    remedy = (
        {"kind": "scaled", "of": "sigmoid", "d": -0.5}
        if activation == "sigmoid"
        else {"kind": "normalised", "of": activation}
    )
    read_comparison(body(init=critical, activation=remedy), Limits())


def test_other_words_are_none() -> None:
    """What is neither a number nor that word is told so."""
    assert "'critical'" in refusals(body(init={"kind": "orthogonal", "gain": "best"}))["/network/init/gain"]
    assert "above 0" in refusals(body(init={"kind": "orthogonal", "gain": -1}))["/network/init/gain"]
