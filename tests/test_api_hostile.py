"""Hostile and malformed requests, generated: whatever is sent, the answer is a 4xx with a pointer or the thing asked for, never a 5xx.

The client waits for thirty seconds at most, so an answer that takes longer fails here, too.
"""

import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx
import numpy as np
import pytest
from api_server import Service, serving
from dataset_samples import CSV, NPZ, PARQUET, csv, drawn, labels, npz, parquet, send, table

from workers.contract.layers import LAYERS

ACTIVATION = {"kind": "activation", "activation": "sigmoid"}
LINEAR = {"kind": "linear", "out_features": 4}
SEQUENCE = [{"kind": "linear", "out_features": 12}, {"kind": "unflatten", "shape": [4, 3]}]
IMAGE = [{"kind": "linear", "out_features": 32}, {"kind": "unflatten", "shape": [2, 4, 4]}]
SQUARE = [{"kind": "linear", "out_features": 13}, ACTIVATION]

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {
        "kind": "mlp",
        "depth": 2,
        "width": 4,
        "activation": {"kind": "scaled", "of": "tanh", "a": 1.5},
        "init": {"kind": "xavier_normal", "gain": 1.0, "bias_std": 0.1},
        "normalization": {"kind": "batch", "momentum": 0.1},
        "shortcut": {"kind": "residual", "scale": 1.0},
        "regularizers": [
            {"kind": "soft_orthogonality", "weight": 0.1, "gain": 1},
            {"kind": "auxiliary_loss", "weight": 0.1, "every": 1},
            {"kind": "recentring", "every": 10},
        ],
    },
    "dense": {
        "kind": "layers",
        "layers": [
            LINEAR,
            ACTIVATION,
            {"kind": "dropout", "p": 0.1},
            {"kind": "normalization", "normalization": "layer"},
        ],
    },
    "radial": {
        "kind": "layers",
        "layers": [
            {"kind": "rbf", "out_features": 4, "distance": "scaled", "width": 1.5, "trainable": ["centres"]},
            ACTIVATION,
        ],
    },
    "recurrent": {
        "kind": "layers",
        "layers": [
            *SEQUENCE,
            {
                "kind": "rnn",
                "hidden_size": 3,
                "output": "sequence",
                "recurrent_init": {"kind": "orthogonal", "gain": 1.1},
            },
            {"kind": "gru", "hidden_size": 3, "output": "sequence", "gate_activation": "hard_sigmoid"},
            {"kind": "lstm", "hidden_size": 2, "forget_bias": 1.0},
        ],
    },
    "tokens": {
        "kind": "layers",
        "layers": [{"kind": "embedding", "num_embeddings": 2, "embedding_dim": 3}, "flatten", LINEAR],
    },
    "attention": {
        "kind": "layers",
        "layers": [
            *SEQUENCE,
            {"kind": "positional_encoding", "encoding": "learned"},
            {"kind": "attention", "heads": 3, "causal": True},
            "flatten",
        ],
    },
    "steps": {
        "kind": "layers",
        "layers": [
            *SEQUENCE,
            {"kind": "conv1d", "out_channels": 2, "kernel_size": 3, "padding": 1},
            {"kind": "max_pool"},
            {"kind": "global_pool", "of": "max"},
        ],
    },
    "image": {
        "kind": "layers",
        "layers": [*IMAGE, {"kind": "conv2d", "out_channels": 2, "stride": 1}, {"kind": "average_pool"}, "flatten"],
    },
    "blocks": {
        "kind": "layers",
        "layers": [
            {
                "kind": "repeat",
                "times": 2,
                "name": "hidden",
                "layers": [{"kind": "sequential", "layers": [LINEAR, ACTIVATION]}],
            },
            {"kind": "residual", "scale": "depth", "layers": [LINEAR, ACTIVATION]},
            {"kind": "highway", "transform_bias": -1, "layers": [LINEAR, ACTIVATION]},
            {"kind": "auxiliary_head", "weight": 0.1},
            {"kind": "dense", "layers": [{**LINEAR, "weight_normalization": {"kind": "spectral", "bound": 2}}]},
        ],
    },
}

PROBLEMS: dict[str, dict[str, Any]] = {
    "tokens": {"problem": {"kind": "parity", "length": 4, "tokens": True}, "variants": {}}
}
"""What else a network needs."""

BASE: dict[str, Any] = {
    "name": "hostile",
    "problem": {"kind": "wine"},
    "variants": {"other": {"activation": {"kind": "expression", "formula": "tanh(z) + 0.1*z"}}},
    "optimizers": [{"kind": "adam", "lr": [0.001, 0.01], "betas": [0.9, 0.999]}, "sgd"],
    "baseline": "sgd",
    "tuning": None,
    "seeds": 2,
    "steps": 5,
    "batch_size": 32,
    "record": {"points": 3, "spacing": "log"},
}

WRONG: list[Any] = [
    None,
    True,
    0,
    -1,
    0.5,
    10**400,
    -(10**400),
    2**63,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\x00",
    "\u202etxet\ud7ff",
    "a" * 100_000,
    "9" * 5000,
    [],
    [[]],
    {},
    {"kind": "nonsense"},
    {"kind": {"kind": []}},
    {"": None},
    [None] * 3000,
    {"$ref": "#"},
    "linear",
    "../..",
]


def deep(levels: int) -> str:
    """JSON of a request nested in itself."""
    before, after = ('{"kind": "scaled", "of": ', "}") if levels % 2 else ("[", "]")
    activation = before * levels + '"tanh"' + after * levels
    whole = json.dumps(BASE | {"network": {"kind": "mlp", "depth": 2, "width": 4, "activation": "ACTIVATION"}})
    return whole.replace('"ACTIVATION"', activation)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every part of a document."""
    yield path
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, part in parts:
        yield from places(part, (*path, key))


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = deepcopy(document)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return changed


def drop(document: Any, path: tuple[Any, ...]) -> Any:
    changed = deepcopy(document)
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    del inside[path[-1]]
    return changed


NOTHING_TO_POINT_INTO = ("not_json", "too_deep", "too_large")
"""What is wrong is the text or its length, not a part of a document: the detail says where."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), max_dataset_bytes=2**22) as found:
        yield found


def refused(answer: httpx.Response, sent: str) -> bool:
    """Whether it was; never by a fault of ours, and always with a place and words."""
    assert answer.status_code < 500, (answer.status_code, sent[:300], answer.text[:500])
    if answer.status_code < 300:
        return False
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    if told["type"].endswith(NOTHING_TO_POINT_INTO):
        assert told["detail"]
        return True
    assert told["errors"], (sent[:300], told)
    assert all(
        isinstance(error.get("pointer", error.get("parameter")), str) and error["message"] for error in told["errors"]
    ), (sent[:99], told)
    assert len(answer.content) < 20_000, (len(answer.content), sent[:300])
    return True


def preview(service: Service, body: Any) -> bool:
    text = body if isinstance(body, str) else json.dumps(body)
    sent = text.encode("utf-8", "surrogatepass")
    return refused(
        service.client.post("/v1/previews", content=sent, headers={"Content-Type": "application/json"}), text
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_as_it_should_be_is_taken(service: Service, network: str) -> None:
    """Else the rest would prove nothing."""
    assert not preview(service, BASE | PROBLEMS.get(network, {}) | {"network": NETWORKS[network]})


def test_every_kind_of_layer_is_among_them() -> None:
    text = json.dumps(NETWORKS)
    assert [kind for layer in LAYERS if f'"{(kind := layer.model_fields["kind"].default)}"' not in text] == []


@pytest.mark.parametrize("network", NETWORKS)
def test_parts_that_are_something_else(service: Service, network: str) -> None:
    """Every part of a network, in turn, one of the wrong values; and left out."""
    generator = random.Random(network)  # noqa: S311 - what is drawn is no secret
    whole = NETWORKS[network]
    count = 0
    for path in places(whole):
        for value in generator.sample(WRONG, 3):
            count += preview(service, BASE | {"network": put(whole, path, value)})
        if path:
            count += preview(service, BASE | {"network": drop(whole, path)})
    assert count >= 20


def test_parts_of_the_request_that_are_something_else(service: Service) -> None:
    generator = random.Random(0)  # noqa: S311 - what is drawn is no secret
    whole = BASE | {"network": NETWORKS["mlp"]}
    count = 0
    for path in places(whole):
        for value in generator.sample(WRONG, 4):
            count += preview(service, json.dumps(put(whole, path, value)))
    assert count >= 100


FORMULAS = [
    "__import__('os').system('true')",
    "z.__class__",
    "().__class__.__bases__[0]",
    "lambda z: z",
    "z if z else z",
    "9**9**9**9",
    "z**1e9",
    "(" * 5000 + "z" + ")" * 5000,
    "z+" * 3000 + "z",
    "tanh(" * 400 + "z" + ")" * 400,
    "z" * 100_000,
    "exec('z')",
    "z[0]",
    "f'{z}'",
    "z;z",
    "where(z)",
    "where(z>0,z)",
    "tanh()",
    "tanh(z,z)",
    "y",
    "",
    " ",
    "\x00",
    "z\nz",
    "1/0",
    "0/0*z",
    "1e999*z",
    "nan",
    "inf*z",
    "log(-1)",
    "z z",
    "**z",
    "z**z**z",
    "exp(exp(exp(exp(exp(z)))))",
    "sqrt(-1-z**2)",
    "𝑧",
    "z＋z",
    "0x10*z",
    "1_000*z",
    "1j*z",
    "True*z",
    "z and z",
    "z:=1",
    "~z",
    "z@z",
    "z%0",
    "z//0",
    "'z'",
    "[z]",
    "{z}",
    "...",
    "*z",
    "print(z)",
    "max(z)",
    "max(*[z])",
    "tanh(z=z)",
    "sign(z)/sign(z)",
    "-" * 5000 + "z",
]


def test_hostile_formulas(service: Service) -> None:
    """Attributes, calls, huge powers, nesting, length, other alphabets: none of it is run, most of it is refused."""
    count = 0
    for formula in FORMULAS:
        activation = {"kind": "expression", "formula": formula}
        count += preview(service, BASE | {"network": {"kind": "mlp", "depth": 2, "width": 4, "activation": activation}})
    assert count >= 40


def test_nesting_and_text_that_is_no_request(service: Service) -> None:
    """Deep documents, broken JSON, names twice, broken characters."""
    mlp = {"kind": "mlp", "depth": 2, "width": 4}
    bodies: list[Any] = [deep(levels) for levels in (10, 51, 300, 301, 3000, 3001)]
    bodies += [
        "[" * 100_000,
        "{" * 1000,
        '{"a":' * 5000,
        "",
        "null",
        "NaN",
        '"',
        "{,}",
        "\ud800",
        '{"a":"\\ud800"}',
        json.dumps(BASE)[:-5],
        '{"problem":"wine","problem":"digits"}',
        "9" * 100_000,
        "[" + "1," * 50_000 + "1]",
        "\x00",
        "<xml/>",
        BASE | {"network": mlp, "variants": {"base": {}}},
        BASE | {"network": mlp, "optimizers": ["sgd", "sgd"]},
        BASE
        | {
            "network": mlp,
            "variants": {"a/b~": {"network": {"kind": "layers", "layers": [LINEAR | {"in_features": 2}]}}},
        },
    ]
    taken = [str(body)[:200] for body in bodies if not preview(service, body)]
    assert taken == []


def bomb(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def files() -> dict[str, tuple[bytes, str]]:
    good = npz(drawn(60, 3), labels(60))
    y = io.BytesIO()
    np.save(y, labels(60))
    of_y = {"y.npy": y.getvalue()}
    objects = io.BytesIO()
    np.savez(objects, x=np.array([{"a": 1}] * 60, dtype=object), y=labels(60))
    found = {f"npz cut at {place}": (good[:place], NPZ) for place in range(4, len(good), max(1, len(good) // 40))}
    found |= {
        f"npz with byte {place} changed": (good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :], NPZ)
        for place in range(0, len(good), max(1, len(good) // 60))
    }
    found |= {
        "pickled": (objects.getvalue(), NPZ),
        "zip bomb": (
            bomb(
                {
                    "x.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (60, 1000000), }", b"\0" * 2**26),
                    **of_y,
                }
            ),
            NPZ,
        ),
        **{
            f"declares {shape}, {kind}": (
                bomb({"x.npy": npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"), **of_y}),
                NPZ,
            )
            for shape in (
                "(1000000000000, 1000000000000)",
                "(-1, 3)",
                "(60, 0)",
                "()",
                "(60,)",
                "60",
                "(60, 3, 3, 3, 3)",
                "('a',)",
                f"({10**400}, 2)",
            )
            for kind in ("<f8", "|O", "<U9", "<M8[s]", "|V8", "nonsense")
        },
        "nothing inside": (bomb({}), NPZ),
        "no y": (npz(drawn(60, 3), labels(60))[:0] + bomb({"x.npy": b""}), NPZ),
        "names twice": (bomb({"x.npy": b"", "X.npy": b""}), NPZ),
        "complex": (npz(drawn(60, 3) * 1j, labels(60)), NPZ),
        "missing": (npz(np.full((60, 3), np.nan), labels(60)), NPZ),
        "infinite": (npz(np.full((60, 3), np.inf), labels(60)), NPZ),
        "constant": (npz(np.ones((60, 3)), labels(60)), NPZ),
        "other lengths": (npz(drawn(60, 3), labels(59)), NPZ),
        "two rows": (npz(drawn(2, 3), labels(2)), NPZ),
        "no features": (npz(drawn(60, 0), labels(60)), NPZ),
        "a class only": (npz(drawn(60, 3), np.zeros(60)), NPZ),
        "text in a column": (csv(table(width=["x"] * 60)), CSV),
        "missing cells": (csv(table(width=[None] * 60)), CSV),
        "constant columns": (csv(table(width=[1] * 60, höhe=[2] * 60)), CSV),
        "no target": (csv({"a": [1, 2] * 30, "b": [1, 2] * 30}), CSV),
        "only names": (b"a,b,target\n", CSV),
        "ragged": (b"a,target\n" + b"1,2,3\n" * 60, CSV),
        "null bytes": (b"\x00" * 1000, CSV),
        "no UTF-8": (b"\xff\xfe" * 500, CSV),
        "one quote": (b'a,target\n"' + b"1,2\n" * 60, CSV),
        "a long line": (b"a," * 100_000 + b"target\n", CSV),
        "names twice in a table": (b"a,a,target\n" + b"1,2,3\n" * 60, CSV),
        "empty": (b"", CSV),
        "numbers beyond all": (b"a,target\n" + b"1e999,1\n" * 60, CSV),
        "formulas": (b"a,target\n" + b"=1+1,1\n" * 60, CSV),
        **{
            f"parquet cut at {share} %": ((whole := parquet(table()))[: len(whole) * share // 100], PARQUET)
            for share in range(5, 100, 10)
        },
        "lists in parquet": (parquet({"a": [[1]] * 60, "target": [1, 2] * 30}), PARQUET),
        "nulls in parquet": (parquet({"a": [None] * 60, "target": [1, 2] * 30}), PARQUET),
        "no parquet": (b"PAR1" + b"\x00" * 100 + b"PAR1", PARQUET),
        "another format": (b"\x89PNG\r\n\x1a\n" * 10, NPZ),
    }
    return found


def test_hostile_data_sets(service: Service) -> None:
    """Cut, changed, pickled, bombs, lies about shapes and types, text, gaps, constants: refused, or what still is a data set."""
    sent = files()
    count = sum(refused(send(service.client, body, media_type), name) for name, (body, media_type) in sent.items())
    assert len(sent) >= 180 and count >= 150, (len(sent), count)
