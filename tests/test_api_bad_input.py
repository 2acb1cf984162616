"""What is wrong with a request is said in words that help, at the place that is wrong, and nothing is queued."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from api_server import SPEC, Service, serving

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


def post(service: Service, body: bytes | str, **headers: str) -> Any:
    sent = body.encode() if isinstance(body, str) else body
    return service.client.post("/v1/comparisons", content=sent, headers={"Content-Type": "application/json"} | headers)


def with_(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(SPEC), **changes}


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in SPEC.items() if key != field}


def layers(*given: Any, **more: Any) -> dict[str, Any]:
    return with_(network={"kind": "layers", "layers": list(given), **more})


def mlp(**changes: Any) -> dict[str, Any]:
    return with_(network={"kind": "mlp", "depth": 2, "width": 4, **changes})


def one(**fields: Any) -> dict[str, Any]:
    return with_(optimizers=[fields])


def nested(levels: int) -> dict[str, Any]:
    block: Any = "dropout"
    for _ in range(levels):
        block = {"kind": "repeat", "times": 2, "layers": [block]}
    return layers(block)


SMALL = json.dumps(SPEC)
GRID = [i / 99 for i in range(1, 65)]

# name: (body, pointer of the first error, a word of its message)
UNPROCESSABLE: dict[str, tuple[Any, str, str]] = {
    # fields
    "unknown field": (with_(optimisers=["sgd"]), "/optimisers", "did you mean 'optimizers'"),
    "unknown field of an optimizer": (one(kind="sgd", learning_rate=1), "/optimizers/0/learning_rate", "of 'sgd'"),
    "misspelt field of an optimizer": (one(kind="sgd", momentom=0.9), "/optimizers/0/momentom", "'momentum'"),
    "unknown field of a variant": (with_(variants={"a": {"int": "torch"}}), "/variants/a/int", "'init'"),
    "unknown field of an activation": (mlp(activation={"kind": "tanh", "a": 1}), "/network/activation/a", "'tanh'"),
    "no optimizers": (without("optimizers"), "/optimizers", "missing"),
    "no network": (without("network"), "/network", "missing"),
    "no problem": (without("problem"), "/problem", "missing"),
    "no width": (with_(network={"kind": "mlp", "depth": 1}), "/network/width", "missing"),
    "an empty object": ({}, "/problem", "missing"),
    "a list": ([], "", "an object is needed"),
    "a number": (5, "", "an object is needed"),
    "null": (None, "", "an object is needed"),
    # what is recorded
    "unknown set": (with_(record={"statistics": "everything"}), "/record/statistics", "'full'"),
    "unknown statistic": (
        with_(record={"statistics": ["core", "gradient_nrom"]}),
        "/record/statistics/1",
        "did you mean 'gradient_norm'",
    ),
    "statistics of no kind": (with_(record={"statistics": 3}), "/record/statistics", "3"),
    "no statistics": (with_(record={"statistics": []}), "/record/statistics", "at least this many"),
    # kinds
    "unknown optimizer": (with_(optimizers=["adm"]), "/optimizers/0", "did you mean 'adam'"),
    "unknown optimizer lists what there is": (with_(optimizers=["sgd", "x"]), "/optimizers/1", "vsgd_fd"),
    "unknown optimizer in an object": (one(kind="SGD"), "/optimizers/0/kind", "did you mean 'sgd'"),
    "unknown activation": (mlp(activation="tahn"), "/network/activation", "did you mean 'tanh'"),
    "unknown initialisation": (mlp(init="ortogonal"), "/network/init", "did you mean 'orthogonal'"),
    "unknown problem": (with_(problem="mnist"), "/problem", "digits"),
    "unknown layer": (layers("convolution"), "/network/layers/0", "no layer"),
    "unknown network": (with_(network={"kind": "transformer"}), "/network/kind", "mlp"),
    "an optimizer without a kind": (one(lr=0.1), "/optimizers/0", '"kind" is missing'),
    "an optimizer that is a number": (with_(optimizers=[5]), "/optimizers/0", "an object is needed"),
    "a bare name that needs more": (layers("linear"), "/network/layers/0", "out_features"),
    # numbers
    "lr of zero": (one(kind="sgd", lr=0), "/optimizers/0/lr", "above 0"),
    "lr below zero": (one(kind="sgd", lr=-0.1), "/optimizers/0/lr", "above 0"),
    "lr below zero in a grid": (one(kind="sgd", lr=[0.1, -1]), "/optimizers/0/lr/1", "above 0"),
    "an empty grid": (one(kind="sgd", lr=[]), "/optimizers/0/lr", "at least"),
    "lr as text": (one(kind="sgd", lr="0.1"), "/optimizers/0/lr", "a number is needed"),
    "lr true": (one(kind="sgd", lr=True), "/optimizers/0/lr", "a number is needed"),
    "momentum of one": (one(kind="sgd", momentum=1), "/optimizers/0/momentum", "below 1"),
    "one beta": (one(kind="adam", betas=[0.9]), "/optimizers/0/betas", "at least"),
    "half a step": (with_(steps=1.5), "/steps", "whole number"),
    "no steps": (with_(steps=0), "/steps", "at least 1"),
    "a batch of none": (with_(batch_size=0), "/batch_size", "at least 1"),
    "a batch of a word": (with_(batch_size="half"), "/batch_size", "'full'"),
    "a batch beyond the split": (with_(batch_size=1000), "/batch_size", "106"),
    "a number with more digits than any": (with_(steps=10**60), "/steps", "number"),
    "more steps than any integer": (with_(steps=1e300), "/steps", "beyond every bound"),
    "a batch beyond any integer": (with_(batch_size=1e300), "/batch_size", "beyond every bound"),
    "nesterov as a number": (one(kind="sgd", nesterov=1), "/optimizers/0/nesterov", "true or false"),
    "a device there is not": (with_(device="tpu"), "/device", "'cpu'"),
    # references and shapes
    "layer misfit": (
        layers({"kind": "linear", "out_features": 8}, {"kind": "linear", "out_features": 8, "in_features": 9}),
        "/network/layers/1/in_features",
        "'layers.1.linear' expects 9 features and receives 8 features",
    ),
    "output misfit": (
        layers({"kind": "linear", "out_features": 8, "output": True}),
        "/network/layers/0/out_features",
        "needs 3 features",
    ),
    "baseline of nobody": (with_(baseline="adam"), "/baseline", "none of the optimizers"),
    "an optimizer twice": (with_(optimizers=["sgd", "sgd"]), "/optimizers/1/name", "twice"),
    "nesterov without momentum": (one(kind="sgd", nesterov=True), "/optimizers/0/nesterov", "momentum"),
    "accuracy of a regression": (
        with_(problem="diabetes", target={"metric": "train_accuracy", "value": 1}),
        "/target/metric",
        "regression",
    ),
    "an interval of no group": (
        with_(record={"intervals": {"backward": 2}}),
        "/record/intervals/backward",
        "'backward' is none of 'trajectory'",
    ),
    "no interval": (with_(record={"intervals": {"noise": 0}}), "/record/intervals/noise", "at least 1"),
    "a variant with a long name": (
        with_(variants={"v" * 81: {}}),
        "/variants/" + "v" * 81,
        "at most 80 characters",
    ),
    "a variant called base": (with_(variants={"base": {}}), "/variants/base", "always runs"),
    "an escaped pointer": (with_(variants={"a/b~c": {"init": 1}}), "/variants/a~1b~0c/init", "an object is needed"),
    # limits
    "a billion units": (mlp(width=1_000_000_000), "/network/width", "at most 1,000,000"),
    "too many parameters": (mlp(width=1_000_000), "/network", "limit"),
    "too many layers": (nested(8) | mlp(depth=5000), "/network/depth", "at most"),
    "blocks of blocks": (nested(20), "/network/layers", "limit is 2000"),
    "too many steps": (with_(steps=2_000_000), "/steps", "limit"),
    "too many trials": (
        with_(seeds=1000, optimizers=["sgd", "adam", "rprop", "signum", "signsgd", "smorms3"]),
        "/optimizers",
        "trials",
    ),
    "a grid of grids": (
        one(kind="sgd", lr=GRID, momentum=GRID, dampening=GRID, weight_decay=GRID),
        "/optimizers",
        "trials",
    ),
    "too many optimizers": (with_(optimizers=["sgd"] * 100_000), "/optimizers", "at most"),
    "nested 80 levels": (nested(40), "/network" + "/layers/0" * 32, "deeper"),
    "a null character": (with_(name="a\x00b"), "/name", "null character"),
    "a lone surrogate": (with_(name="\ud800"), "/name", "surrogate"),
}

# name: (body, status, pointer or None, a word of the detail)
TEXTS: dict[str, tuple[str | bytes, int, str | None, str]] = {
    "nothing": ("", 400, None, "empty"),
    "a word": ("hello", 400, None, "line 1, column 1"),
    "cut off": (SMALL[:-1], 400, None, "not JSON"),
    "a trailing comma": (SMALL[:-1] + ",}", 400, None, "not JSON"),
    "a form": ("name=x&steps=1", 400, None, "not JSON"),
    "not UTF-8": (b'{"name": "\xff"}', 400, None, "UTF-8"),
    "NaN": (SMALL.replace("10", "NaN", 1), 422, "/steps", "NaN"),
    "Infinity": (SMALL.replace("10", "Infinity", 1), 422, "/steps", "Infinity"),
    "-Infinity": (SMALL.replace("0.001", "-Infinity"), 422, "/optimizers/1/lr/0", "-Infinity"),
    "1e999": (SMALL.replace("0.001", "1e999"), 422, "/optimizers/1/lr/0", "1e999"),
    "a million digits": (SMALL.replace("10", "1" * 1_000_0, 1), 422, "/steps", "number"),
    "a key twice": (SMALL[:-1] + ', "steps": 5}', 422, "/steps", "twice"),
    "100,000 lists": ("[" * 100_000, 422, "", "deeper"),
    "100,000 lists, closed": ("[" * 100_000 + "]" * 100_000, 422, "", "deeper"),
    "10,000 objects": ('{"a":' * 10_000 + "1" + "}" * 10_000, 422, "", "deeper"),
    "10 MB": ('{"name": "' + "x" * 10_000_000 + '"}', 413, None, "larger"),
}


def nothing_is_queued(service: Service) -> bool:
    return bool(service.client.get("/v1/comparisons").json() == {"items": [], "next": None})


@pytest.mark.parametrize("name", UNPROCESSABLE)
def test_wrong_requests_are_told_where_and_why(service: Service, name: str) -> None:
    """A request that is JSON but wrong is a 422 that points at the place and says what to change."""
    body, pointer, word = UNPROCESSABLE[name]
    answer = post(service, json.dumps(body))
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert problem["errors"][0]["pointer"] == pointer, problem
    assert word in problem["errors"][0]["message"]
    assert problem["errors"][0]["code"]
    assert {"type", "title", "status", "detail", "instance"} <= problem.keys()
    assert nothing_is_queued(service)


@pytest.mark.parametrize("name", TEXTS)
def test_bodies_that_are_no_proper_json(service: Service, name: str) -> None:
    """What is not JSON, or JSON that no computer can use, is a 4xx, whatever its size and depth."""
    body, status, pointer, word = TEXTS[name]
    answer = post(service, body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text[:500]
    assert word in answer.json()["detail"]
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert nothing_is_queued(service)


def test_only_the_complaint_that_fits_is_told(service: Service) -> None:
    """Of a union's alternatives just one is reported for a place, and everything else that is wrong is reported, too."""
    body = with_(batch_size=0, steps=0, optimizers=[{"kind": "rmsprop", "lr": [-1], "alpha": 2}, "nope"])
    errors = post(service, json.dumps(body)).json()["errors"]
    assert [error["pointer"] for error in errors] == [
        "/optimizers/0/lr/0",
        "/optimizers/0/alpha",
        "/optimizers/1",
        "/steps",
        "/batch_size",
    ]


def test_media_types_other_than_json_are_refused(service: Service) -> None:
    """A form, or no type at all, is a 415 that says which header to send: no other page's form can start a training."""
    for media_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        answer = service.client.post("/v1/comparisons", content=SMALL, headers={"Content-Type": media_type})
        assert answer.status_code == 415
        assert "application/json" in answer.json()["detail"]
    assert nothing_is_queued(service)


def test_an_endless_body_is_cut_off(service: Service) -> None:
    """A body sent in chunks, without a length, is refused once it passes the limit."""

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    answer = service.client.post("/v1/comparisons", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/comparisons/nope", 404),
        ("GET", "/v1/comparisons/%00", 404),
        ("GET", "/v1/comparisons/nope/statistics", 404),
        ("GET", "/v1/comparisons/nope/trials", 404),
        ("GET", "/v1/comparisons/nope/events", 404),
        ("POST", "/v1/comparisons/nope/cancel", 404),
        ("DELETE", "/v1/comparisons/nope", 404),
        ("PUT", "/v1/comparisons", 405),
        ("PATCH", "/v1/comparisons/nope", 405),
        ("GET", "/v1/comparisons?limit=0", 422),
        ("GET", "/v1/comparisons?limit=many", 422),
        ("GET", "/v1/comparisons?cursor=nonsense", 422),
        ("GET", "/v1/comparisons?cursor=%F0%9F%92%A9", 422),
        ("GET", "/v1/comparisons?status=done", 422),
        ("GET", "/v1/comparisons?label=nocolon", 422),
    ],
)
def test_every_error_is_a_problem_document(service: Service, method: str, path: str, status: int) -> None:
    """Unknown paths, methods, ids and parameters answer with problem documents of the right status."""
    answer = service.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert answer.json()["status"] == status
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
def test_idempotency_keys_have_bounds(service: Service, key: str) -> None:
    """A key that is empty, too long or has spaces is refused by the name of its header."""
    answer = post(service, SMALL, **{"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "idempotency-key" in answer.json()["errors"][0]["parameter"].lower()


VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    1e300,
    10**30,
    "",
    "sgd",
    "x" * 300,
    [],
    {},
    [[]],
    {"kind": "sgd"},
    {"kind": []},
    "é\x00",
]


def mutate(value: Any, chance: random.Random) -> Any:
    """The value with one random change somewhere inside: replaced, removed, renamed, repeated or wrapped."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        action = chance.random()
        if action < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if action < 0.3:
            return {(name + "s" if name == key else name): item for name, item in value.items()}
        return {**value, key: mutate(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        index = chance.randrange(len(value))
        if chance.random() < 0.2:
            return [*value, value[index]]
        return [*value[:index], mutate(value[index], chance), *value[index + 1 :]]
    return [value] if chance.random() < 0.1 else chance.choice(VALUES)


RICH: dict[str, Any] = {
    **SPEC,
    "network": {
        "kind": "layers",
        "init": {"kind": "orthogonal", "gain": 1.5},
        "layers": [
            {"kind": "repeat", "times": 2, "layers": [{"kind": "linear", "out_features": 4}, {"kind": "activation", "activation": "erf"}]},
            {"kind": "dropout", "p": 0.1},
        ],
    },
    "variants": {"wide": {"init": "torch"}, "other": {"network": {"kind": "mlp", "depth": 1, "width": 3}}},
    "optimizers": ["sgd", {"kind": "adam", "betas": [0.9, 0.99], "lr": [0.1, 0.2], "batch_size": "full"}, "vsgd_fd"],
    "tuning": {"points": 2},
    "target": {"metric": "train_loss", "value": 0.5},
    "labels": {"team": "a"},
}  # fmt: skip


def test_random_mutations_never_break_the_service(tmp_path: Any) -> None:
    """A valid request changed at random is accepted or refused with a pointer, never a 5xx; the refused are not queued."""
    chance = random.Random(20260102)  # noqa: S311 - it has to repeat
    accepted = 0
    with serving(tmp_path) as service:
        for round_ in range(400):
            body: Any = deepcopy(RICH)
            for _ in range(chance.randint(1, 3)):
                body = mutate(body, chance)
            text = json.dumps(body)
            if round_ % 4 == 0:  # and sometimes the text itself
                at = chance.randrange(len(text))
                text = text[:at] + chance.choice(["", "}", "NaN", "1e999", '"', "\\ud800", "\x00"]) + text[at + 1 :]
            answer = post(service, text)
            assert answer.status_code in (202, 400, 422), (answer.status_code, text, answer.text)
            if answer.status_code == 202:
                accepted += 1
            else:
                assert answer.headers["content-type"] == PROBLEM
        assert 0 < accepted < 200
        listed = service.client.get("/v1/comparisons", params={"limit": 200}).json()["items"]
        assert len(listed) == accepted
