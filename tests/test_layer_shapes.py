"""What each layer makes of a shape, and what it says of one that it cannot take."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from workers.contract.layers import LAYERS, DoesNotFit, LayerSpec, Shape

_layer: TypeAdapter[Any] = TypeAdapter(LayerSpec)

FEATURES, SEQUENCE, IMAGE = (6,), (8, 3), (2, 8, 7)

FITTING: list[tuple[dict[str, Any], Shape, Shape, tuple[Shape, ...], int]] = [
    ({"kind": "linear", "out_features": 5}, SEQUENCE, (8, 5), ((5, 3), (5,)), 8),
    ({"kind": "rbf", "out_features": 5}, SEQUENCE, (8, 5), ((5, 3), (5,)), 8),
    ({"kind": "embedding", "num_embeddings": 4, "embedding_dim": 2}, FEATURES, (6, 2), ((4, 2),), 1),
    ({"kind": "rnn", "hidden_size": 5}, SEQUENCE, (5,), ((5, 3), (5, 5), (5,)), 8),
    ({"kind": "gru", "hidden_size": 5, "output": "sequence"}, SEQUENCE, (8, 5), ((15, 3), (15, 5), (15,), (5,)), 8),
    ({"kind": "lstm", "hidden_size": 5, "bias": False, "forget_bias": 0}, SEQUENCE, (5,), ((20, 3), (20, 5)), 8),
    ({"kind": "rbf", "out_features": 5, "trainable": ["widths"]}, FEATURES, (5,), ((5,),), 1),
    ({"kind": "attention"}, SEQUENCE, (8, 3), ((9, 3), (9,), (3, 3), (3,)), 8 + 11),
    ({"kind": "attention", "bias": False}, SEQUENCE, (8, 3), ((9, 3), (3, 3)), 8 + 11),
    ({"kind": "positional_encoding"}, SEQUENCE, (8, 3), (), 1),
    ({"kind": "positional_encoding", "encoding": "learned"}, SEQUENCE, (8, 3), ((8, 3),), 1),
    ({"kind": "flatten"}, IMAGE, (112,), (), 1),
    ({"kind": "unflatten", "shape": [2, 3]}, FEATURES, (2, 3), (), 1),
    ({"kind": "unflatten", "shape": [4, 4, 7]}, IMAGE, (4, 4, 7), (), 1),
    ({"kind": "conv1d", "out_channels": 4}, SEQUENCE, (8, 4), ((4, 3, 3), (4,)), 8),
    ({"kind": "conv1d", "out_channels": 4, "padding": 0, "stride": 2, "bias": False}, SEQUENCE, (3, 4), ((4, 3, 3),), 3),
    ({"kind": "conv2d", "out_channels": 4}, IMAGE, (4, 8, 7), ((4, 2, 3, 3), (4,)), 56),
    ({"kind": "conv2d", "out_channels": 4, "kernel_size": 2, "padding": 1, "dilation": 3}, IMAGE, (4, 7, 6), ((4, 2, 2, 2), (4,)), 42),
    ({"kind": "max_pool"}, IMAGE, (2, 4, 3), (), 1),
    ({"kind": "average_pool", "kernel_size": 3, "stride": 1}, SEQUENCE, (6, 3), (), 1),
    ({"kind": "global_pool"}, SEQUENCE, (3,), (), 1),
    ({"kind": "global_pool", "of": "max"}, IMAGE, (2,), (), 1),
]  # fmt: skip
"""Layer, what it receives, what it gives, its parameter tensors, and how often a sample uses each parameter."""

MISFITTING: list[tuple[dict[str, Any], Shape, str, list[str]]] = [
    ({"kind": "linear", "out_features": 5}, IMAGE, "", ["2×8×7", "flatten"]),
    ({"kind": "rbf", "out_features": 5}, IMAGE, "", ["2×8×7", "flatten"]),
    ({"kind": "embedding", "num_embeddings": 4, "embedding_dim": 2}, SEQUENCE, "", ["symbols", "one-hot"]),
    ({"kind": "rnn", "hidden_size": 5}, FEATURES, "", ["6 features", "unflatten", '"sequence"']),
    ({"kind": "lstm", "hidden_size": 5}, IMAGE, "", ["2×8×7"]),
    ({"kind": "attention"}, FEATURES, "", ["6 features", "unflatten"]),
    ({"kind": "attention", "heads": 2}, SEQUENCE, "heads", ["2 heads", "3 features"]),
    ({"kind": "positional_encoding"}, IMAGE, "", ["2×8×7", "unflatten"]),
    ({"kind": "unflatten", "shape": [2, 4]}, FEATURES, "shape", ["2×4", "8 numbers", "6 numbers"]),
    ({"kind": "conv1d", "out_channels": 4}, FEATURES, "", ["6 features", "unflatten"]),
    ({"kind": "conv1d", "out_channels": 4}, IMAGE, "", ["an image", "conv2d"]),
    ({"kind": "conv2d", "out_channels": 4}, SEQUENCE, "", ["a sequence", "conv1d"]),
    ({"kind": "conv2d", "out_channels": 4}, FEATURES, "", ["unflatten"]),
    ({"kind": "conv2d", "out_channels": 4, "kernel_size": 9, "padding": 0}, IMAGE, "kernel_size", ["9 places", "receives 7"]),
    ({"kind": "conv2d", "out_channels": 4, "kernel_size": 4}, IMAGE, "padding", ["even"]),
    ({"kind": "conv2d", "out_channels": 4, "stride": 2}, IMAGE, "padding", ["stride of 2"]),
    ({"kind": "max_pool"}, FEATURES, "", ["6 features"]),
    ({"kind": "max_pool", "kernel_size": 9}, SEQUENCE, "kernel_size", ["9 places", "receives 8"]),
    ({"kind": "average_pool", "kernel_size": 8}, IMAGE, "kernel_size", ["8 places", "receives 7"]),
    ({"kind": "global_pool"}, FEATURES, "", ["6 features"]),
]  # fmt: skip
"""Layer, what it receives, the field to change, and what the message must say."""


@pytest.mark.parametrize(("layer", "shape", "out", "tensors", "positions"), FITTING)
def test_shapes_and_parameters(
    layer: dict[str, Any], shape: Shape, out: Shape, tensors: tuple[Shape, ...], positions: int
) -> None:
    """By hand: the shape that comes out, the parameters, and their uses on a sample."""
    spec = _layer.validate_python(layer)
    assert (spec.out_shape(shape), spec.tensors(shape), spec.positions(shape)) == (out, tensors, positions)


@pytest.mark.parametrize(("layer", "shape", "field", "words"), MISFITTING)
def test_a_misfit_is_named(layer: dict[str, Any], shape: Shape, field: str, words: list[str]) -> None:
    """The field to change, and both sides of what does not fit."""
    with pytest.raises(DoesNotFit) as raised:
        _layer.validate_python(layer).out_shape(shape)
    assert raised.value.field == field
    assert all(word in str(raised.value) for word in words), str(raised.value)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_says_what_it_computes_and_where_it_is_from(layer: type[Any]) -> None:
    """Formula and source, which the catalogue shows."""
    assert layer.formula and layer.source


@pytest.mark.parametrize(
    ("shape", "inside", "out"),
    [
        (FEATURES, (4,), (10,)), (SEQUENCE, (8, 1), (8, 4)), (IMAGE, (5, 8, 7), (7, 8, 7)),
        (IMAGE, (5, 4, 7), None), (SEQUENCE, (3,), None), (SEQUENCE, (7, 3), None),
    ],
)  # fmt: skip
def test_dense_layers_add_features_or_channels(shape: Shape, inside: Shape, out: Shape | None) -> None:
    """The rest has to be alike: otherwise both shapes are told, and what may differ."""
    dense = _layer.validate_python({"kind": "dense", "layers": ["flatten"]})
    if out is not None:
        assert dense.joined(shape, inside) == out
        return
    with pytest.raises(DoesNotFit, match="channels only" if shape == IMAGE else "features only"):
        dense.joined(shape, inside)
