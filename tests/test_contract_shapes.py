"""From what a network's spec says to the list of its layers: paths, shapes, parameters, and what does not fit."""

from itertools import pairwise
from typing import Any

import pytest
from pydantic import TypeAdapter

from workers.contract.activations import ACTIVATIONS
from workers.contract.initialisers import INITIALISERS
from workers.contract.layers import MAX_LAYERS, Activation, Repeat
from workers.contract.network import Layers, Mlp, NetworkSpec, Variant, to_layers, vary
from workers.contract.shapes import ExpandedLayer, Misfit, expand, walk

FEATURES, OUTPUTS = 5, 3
NETWORK: TypeAdapter[Mlp | Layers] = TypeAdapter(NetworkSpec)
TANH = {"kind": "activation", "activation": "tanh"}
INITS = [spec.model_fields["kind"].default for spec in INITIALISERS]


def linear(units: int = 4, **more: Any) -> dict[str, Any]:
    return {"kind": "linear", "out_features": units, **more}


def repeat(times: int, *inside: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "repeat", "times": times, "layers": list(inside), **more}


def layers(*given: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "layers", "layers": list(given), **more}


def mlp(depth: int = 2, width: int = 4, **more: Any) -> dict[str, Any]:
    return {"kind": "mlp", "depth": depth, "width": width, **more}


def network(body: dict[str, Any], **variant: Any) -> Mlp | Layers:
    return vary(NETWORK.validate_python(body), Variant.model_validate(variant))


def expanded(body: dict[str, Any], **variant: Any) -> list[ExpandedLayer]:
    return expand(network(body, **variant), (FEATURES,), (OUTPUTS,))


def paths(*given: Any) -> list[str]:
    return [layer.path for layer in expanded(layers(*given))]


def inits(found: list[ExpandedLayer]) -> list[tuple[str, float | str]]:
    """(kind, gain) of every layer that has one."""
    return [(layer.init.kind, layer.init.gain) for layer in found if layer.init]


def test_the_short_form_by_hand() -> None:
    """Two hidden layers of four units on five features, three classes: every field of every layer."""
    found = expanded(mlp(2, 4, activation="sigmoid", init="orthogonal"))
    assert [(one.path, one.spec.kind, one.in_shape, one.out_shape, one.parameters, one.depth) for one in found] == [
        ("hidden.0.linear", "linear", (5,), (4,), 24, 0),
        ("hidden.0.activation", "activation", (4,), (4,), 0, None),
        ("hidden.1.linear", "linear", (4,), (4,), 20, 1),
        ("hidden.1.activation", "activation", (4,), (4,), 0, None),
        ("output", "linear", (4,), (3,), 15, 2),
    ]
    assert inits(found) == [("orthogonal", 1.0)] * 3


def test_blocks_that_start_by_fixup() -> None:
    """Eight hidden layers: a plain one, one that fills no block, then two blocks of three: gains of 2 by L^(−1/(2m−2)), the last zero."""
    shortcut = {"kind": "fixup", "layers": 3}
    found = expanded(mlp(8, 5, init={"kind": "lecun_normal", "gain": 2.0}, shortcut=shortcut))
    assert [layer.path for layer in found if layer.layers] == ["block.0.residual", "block.1.residual"]
    assert [layer.path for layer in found[-2].layers if layer.init] == [
        "block.1.layer.0.linear",
        "block.1.layer.1.linear",
        "block.1.linear",
    ]
    own = [(layer.init.kind, layer.init.gain) for layer in walk(found) if layer.init]
    smaller = ("lecun_normal", pytest.approx(2 * 2 ** (-1 / 4)))
    block = [smaller, smaller, ("zeros", 1.0)]
    assert own == [("lecun_normal", 2.0), ("lecun_normal", 2.0), *block, *block, ("lecun_normal", 1.0)]
    assert [layer.depth for layer in walk(found) if layer.init] == list(range(9))


@pytest.mark.parametrize(
    ("inside", "init", "told"),
    [
        ([linear(5), TANH], "torch", "two layers of weights or more, and holds 1"),
        ([linear(4), TANH, linear(5)], {"kind": "orthogonal", "gain": "critical"}, "a gain that is a number"),
        ([linear(4), TANH, linear(5)], "lsuv", "from data"),
    ],
)
def test_what_cannot_start_by_fixup_is_told_so(inside: list[Any], init: Any, told: str) -> None:
    with pytest.raises(Misfit, match=told) as refused:
        expanded(layers(linear(5), {"kind": "residual", "fixup": True, "layers": inside}, init=init))
    assert refused.value.violation.pointer == "/layers/1/fixup"


def test_the_short_form_is_the_long_one() -> None:
    """Written out, the short form gives the same layers, and the long form is itself a valid request."""
    short = network(mlp(3, 7, init={"kind": "lecun_normal", "gain": 2.0}, output_init="torch"))
    assert isinstance(short, Mlp)
    long = NETWORK.validate_json(to_layers(short).model_dump_json())
    assert expand(long, (FEATURES,), (OUTPUTS,)) == expand(short, (FEATURES,), (OUTPUTS,))


@pytest.mark.parametrize(
    "body",
    [
        mlp(1),
        mlp(50, 1),
        layers(linear(9), TANH, linear(2, bias=False), "dropout"),
        layers(repeat(3, repeat(2, linear(), TANH), linear(6))),
    ],
)
def test_shapes_follow_one_another(body: dict[str, Any]) -> None:
    """Each layer receives what the one before gives, from the features to the outputs; depths count up; paths differ."""
    found = expanded(body)
    assert (found[0].in_shape, found[-1].out_shape) == ((FEATURES,), (OUTPUTS,))
    assert all(below.out_shape == above.in_shape for below, above in pairwise(found))
    assert len({layer.path for layer in found}) == len(found)
    weighted = [layer for layer in found if layer.parameters]
    assert [layer.depth for layer in weighted] == list(range(len(weighted)))
    assert all(layer.depth is None and layer.init is None for layer in found if not layer.parameters)


def test_a_bias_is_counted_where_there_is_one() -> None:
    """In · out weights, and out biases."""
    with_, without = (expanded(layers(linear(4, bias=bias)))[0].parameters for bias in (True, False))
    assert (with_, without) == (24, 20)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([linear(), TANH], ["layers.0.linear", "layers.1.activation"]),
        ([linear(name="in"), TANH, "dropout"], ["in", "layers.1.activation", "layers.2.dropout"]),
        (
            [repeat(2, linear(), TANH)],
            ["layers.0.0.linear", "layers.0.0.activation", "layers.0.1.linear", "layers.0.1.activation"],
        ),
        ([repeat(2, linear(), name="deep")], ["deep.0.linear", "deep.1.linear"]),
        (
            [repeat(1, linear(name="up"), TANH, linear())],
            ["layers.0.0.up", "layers.0.0.activation", "layers.0.0.2.linear"],
        ),
        ([repeat(1, linear(), linear(), name="twice")], ["twice.0.0.linear", "twice.0.1.linear"]),
        (
            [TANH, repeat(2, repeat(2, linear()), TANH, name="a")],
            [
                "layers.0.activation",
                "a.0.0.0.linear",
                "a.0.0.1.linear",
                "a.0.activation",
                "a.1.0.0.linear",
                "a.1.0.1.linear",
                "a.1.activation",
            ],
        ),
        (
            [repeat(1, repeat(2, linear(), name="inner"), name="outer")],
            ["outer.0.inner.0.linear", "outer.0.inner.1.linear"],
        ),
    ],
)
def test_paths(given: list[Any], expected: list[str]) -> None:
    """A name where there is one, else the place; within a block the kind alone, unless it stands there twice."""
    assert paths(*given) == [*expected, "output"]


def test_a_name_in_a_block_does_not_move_the_others() -> None:
    """Naming one of two linear layers leaves the other's path, by which statistics are found, as it was."""
    plain, named = (paths(repeat(1, linear(name=name), linear(), name="b")) for name in (None, "first"))
    assert (plain[1], named[1]) == ("b.0.1.linear", "b.0.1.linear")


def test_an_output_layer_is_added_unless_the_last_one_is_it() -> None:
    """Stated, it keeps its own bias and initialisation; its path is `output` either way, whatever its name."""
    added = expanded(layers(linear(), TANH))
    stated = expanded(layers(linear(), TANH, linear(OUTPUTS, output=True, bias=False, init="torch", name="head")))
    assert [layer.path for layer in added] == [layer.path for layer in stated]
    assert (added[-1].parameters, stated[-1].parameters) == (15, 12)
    assert (inits(added)[-1][0], inits(stated)[-1][0]) == ("xavier_normal", "torch")
    assert paths(repeat(1, linear(), linear(OUTPUTS, output=True)))[-1] == "output"


WRONG: dict[str, tuple[dict[str, Any], str, str, list[str]]] = {
    "in_features of the first layer": (
        layers(linear(in_features=6)),
        "/layers/0/in_features",
        "shape_misfit",
        ["'layers.0.linear'", "6 features", "5 features"],
    ),
    "in_features in the second copy of a block": (
        layers(repeat(2, linear(8, in_features=5), name="deep")),
        "/layers/0/layers/0/in_features",
        "shape_misfit",
        ["'deep.1.linear'", "5 features", "8 features", "set in_features to 8"],
    ),
    "in_features after layers that keep the shape": (
        layers(linear(8), TANH, "dropout", linear(in_features=9)),
        "/layers/3/in_features",
        "shape_misfit",
        ["9 features", "8 features"],
    ),
    "an output layer of another width": (
        layers(linear(7, output=True)),
        "/layers/0/out_features",
        "shape_misfit",
        ["'output'", "7 features", "3 features"],
    ),
    "an output layer below another layer": (
        layers(linear(3, output=True), TANH),
        "/layers/0/output",
        "misplaced_output",
        ["last"],
    ),
    "an output layer in every copy": (
        layers(repeat(2, linear(3, output=True))),
        "/layers/0/layers/0/output",
        "misplaced_output",
        ["last"],
    ),
    "two output layers": (
        layers(linear(3, output=True), linear(3, output=True)),
        "/layers/0/output",
        "misplaced_output",
        ["last"],
    ),
    "a name twice": (
        layers(linear(name="a"), TANH | {"name": "a"}),
        "/layers/1/name",
        "duplicate_name",
        ["'a'", "twice"],
    ),
    "a block's name twice": (
        layers(repeat(1, linear(), name="a"), repeat(1, linear(), name="a")),
        "/layers/1/layers/0/name",
        "duplicate_name",
        ["'a.0.linear'"],
    ),
    "a name that a place has": (
        layers(linear(), repeat(1, linear(), name="layers")),
        "/layers/1/layers/0/name",
        "duplicate_name",
        ["'layers.0.linear'"],
    ),
    "a layer called output below the added one": (
        layers(linear(name="output")),
        "/layers/0/name",
        "duplicate_name",
        ["'output'", 'say "output": true'],
    ),
    "a layer called output below the stated one": (
        layers(TANH | {"name": "output"}, linear(3, output=True)),
        "/layers/0/name",
        "duplicate_name",
        ["'output'"],
    ),
    "a layer called output above the stated one": (
        layers(linear(3, output=True), TANH | {"name": "output"}),
        "/layers/1/name",
        "duplicate_name",
        ["'output'"],
    ),
    "a layer too many": (layers(repeat(MAX_LAYERS, linear()), TANH), "/layers", "too_large", ["2001", "2000"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_told_where_it_stands(name: str) -> None:
    """The pointer leads to the field to change, the message names the layer and both shapes."""
    body, pointer, code, words = WRONG[name]
    with pytest.raises(Misfit) as raised:
        expanded(body)
    violation = raised.value.violation
    assert (violation.pointer, violation.code) == (pointer, code), violation
    assert all(word in violation.message for word in words), violation.message


def test_layers_are_counted_before_any_is_made() -> None:
    """2000 copies of 2000 copies, twelve times over, are refused at once: 4·10³⁹ layers fit into no memory."""
    block: dict[str, Any] = linear()
    for _ in range(12):
        block = repeat(MAX_LAYERS, block)
    with pytest.raises(Misfit, match=str(MAX_LAYERS**12)) as raised:
        expanded(layers(block))
    assert raised.value.violation.code == "too_large"


def test_as_many_layers_as_the_limit_are_fine() -> None:
    """The added output layer is not counted, so that the deepest short form is as deep as it says."""
    assert len(expanded(mlp(MAX_LAYERS // 2, 1))) == MAX_LAYERS + 1
    assert len(expanded(layers(repeat(MAX_LAYERS, linear(1))))) == MAX_LAYERS + 1


@pytest.mark.parametrize("kind", INITS)
@pytest.mark.parametrize("form", [mlp, lambda **more: layers(linear(), **more)], ids=["mlp", "layers"])
def test_the_output_layer_starts_like_the_hidden_ones_with_gain_one(kind: str, form: Any) -> None:
    """The same kind and biases, the gain left aside, unless `output_init` says otherwise."""
    init = {"kind": kind, "gain": 3.0, "bias_std": 0.25}
    found = expanded(form(init=init))
    assert inits(found)[0] == (kind, 3.0)
    assert inits(found)[-1] == (kind, 1.0)
    assert {layer.init.bias_std for layer in found if layer.init} == {0.25}
    other = expanded(form(init=init, output_init={"kind": "lecun_uniform", "gain": 2.0}))
    assert (inits(other)[0], inits(other)[-1]) == ((kind, 3.0), ("lecun_uniform", 2.0))


def test_a_layers_own_init_comes_first() -> None:
    """The network's is for those that say nothing."""
    found = expanded(layers(linear(init="torch"), linear(), init="orthogonal"))
    assert [kind for kind, _ in inits(found)] == ["torch", "orthogonal", "orthogonal"]


def activations(found: Mlp | Layers) -> list[str]:
    return [
        one.spec.activation.kind for one in expand(found, (FEATURES,), (OUTPUTS,)) if isinstance(one.spec, Activation)
    ]


@pytest.mark.parametrize("spec", ACTIVATIONS, ids=lambda spec: spec.model_fields["kind"].default)
@pytest.mark.parametrize(
    "body",
    [mlp(3), layers(linear(), TANH, repeat(2, TANH, repeat(2, linear(), TANH | {"name": "a"}, "dropout")), TANH)],
    ids=["mlp", "layers"],
)
def test_a_variants_activation_replaces_every_one(body: dict[str, Any], spec: Any) -> None:
    """In the short form and at every level of the long one; nothing else changes."""
    kind = spec.model_fields["kind"].default
    needed = {name: field.examples[0] for name, field in spec.model_fields.items() if field.is_required()}
    before, after = network(body), network(body, activation={"kind": kind, **needed})
    assert set(activations(after)) == {kind} and len(activations(after)) == len(activations(before))
    shapes = [(one.path, one.in_shape, one.parameters, one.init) for one in expand(before, (FEATURES,), (OUTPUTS,))]
    assert [
        (one.path, one.in_shape, one.parameters, one.init) for one in expand(after, (FEATURES,), (OUTPUTS,))
    ] == shapes
    assert NETWORK.validate_json(after.model_dump_json()) == after


def test_a_variants_init_reaches_the_output_layer_unless_that_has_its_own() -> None:
    """The rule of the same kind with gain 1 holds for the variant's initialisation, too."""
    init = {"kind": "orthogonal", "gain": 2.0}
    assert inits(expanded(mlp(1), init=init)) == [("orthogonal", 2.0), ("orthogonal", 1.0)]
    assert inits(expanded(mlp(1, output_init="torch"), init=init)) == [("orthogonal", 2.0), ("torch", 1.0)]
    assert inits(expanded(mlp(1), output_init=init)) == [("xavier_normal", 1.0), ("orthogonal", 2.0)]
    own = layers(linear(init="torch"), repeat(1, linear()))
    assert inits(expanded(own, init=init)) == [("torch", 1.0), ("orthogonal", 2.0), ("orthogonal", 1.0)]


def test_a_variants_network_is_changed_by_the_rest_of_it() -> None:
    """Another network altogether, with this non-linearity and this initialisation."""
    found = network(mlp(5), network=layers(linear(9), TANH), activation="sin", init="torch")
    assert activations(found) == ["sin"]
    assert inits(expand(found, (FEATURES,), (OUTPUTS,))) == [("torch", 1.0), ("torch", 1.0)]
    assert network(mlp(5)) == NETWORK.validate_python(mlp(5))


def test_a_variant_leaves_the_network_itself_alone() -> None:
    """What is shared by all variants is not changed by one of them."""
    body = layers(repeat(2, linear(), TANH))
    original = NETWORK.validate_python(body)
    vary(original, Variant.model_validate({"activation": "relu", "init": "torch"}))
    assert original == NETWORK.validate_python(body)
    assert isinstance(original, Layers) and isinstance(original.layers[0], Repeat)
