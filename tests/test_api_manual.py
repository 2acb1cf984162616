"""The OpenAPI document is the manual: every field is described, bounded and shown by an example that holds."""

import typing
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any

import pytest
from api_server import Service, serving
from pydantic import BaseModel, create_model

from service.fleet import Workers
from service.openapi import EXAMPLE
from service.views import Page
from workers.contract.activations import ACTIVATIONS
from workers.contract.comparison import ComparisonSpec
from workers.contract.initialisers import INITIALISERS
from workers.contract.layers import LAYERS
from workers.contract.network import HIDDEN_NORMALIZATIONS, SHORTCUTS
from workers.contract.optimizers import OPTIMIZERS, Optimizer
from workers.contract.optimizers.wrappers import FIELDS
from workers.contract.problems import PROBLEMS
from workers.contract.regularizers import REGULARIZERS
from workers.contract.results import Comparison, TrialReport, View
from workers.contract.statistics import COLUMNS

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="module")
def document(service: Service) -> Schema:
    found: Schema = service.client.get("/openapi.json").json()
    return found


def fields(document: Schema) -> Iterator[tuple[str, Schema]]:
    for name, schema in document["components"]["schemas"].items():
        for field, found in schema.get("properties", {}).items():
            yield f"{name}.{field}", found


def parameters(document: Schema) -> Iterator[tuple[str, Schema]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method} {path} {parameter['name']}", parameter


def leaves(schema: Schema) -> Iterator[Schema]:
    """The alternatives of a schema, and what a list or an object of any keys holds."""
    for one in schema.get("anyOf", []) + schema.get("oneOf", []):
        yield from leaves(one)
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from leaves(schema[inner])
    yield schema


def test_every_field_has_a_description_and_an_example(document: Schema) -> None:
    """No field of any schema goes without words and an example, nor does a parameter."""
    bare = [name for name, found in fields(document) if not found.get("description")]
    unshown = [name for name, found in fields(document) if not found.get("examples")]
    assert (bare, unshown) == ([], [])
    for name, parameter in parameters(document):
        if parameter["in"] != "path":
            assert parameter.get("description") or parameter["schema"].get("description"), name
            assert parameter.get("examples") or parameter["schema"].get("examples"), name


def reachable(document: Schema, name: str, found: set[str]) -> set[str]:
    if name not in found:
        found.add(name)
        for reference in references(document["components"]["schemas"][name]):
            reachable(document, reference.rpartition("/")[2], found)
    return found


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for item in schema.values():
            yield from references(item)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)


OPEN = {"Bridged": "what stands beside `kind` is checked by a model of the class's own constructor"}
"""Objects that take other fields than their schema says, and why."""


def test_every_field_of_a_request_is_bounded(document: Schema) -> None:
    """Numbers have a lower and an upper bound, texts and lists a length, and objects take no unknown fields."""
    unbounded = []
    for name in reachable(document, "ComparisonSpec", set()):
        schema = document["components"]["schemas"][name]
        assert schema["additionalProperties"] is False or name in OPEN, name
        for field, found in schema["properties"].items():
            for leaf in leaves(found):
                kind, keys = leaf.get("type"), leaf.keys()
                if "enum" in leaf or "const" in leaf:
                    continue
                numeric = kind in ("number", "integer") and not (
                    keys & {"minimum", "exclusiveMinimum"} and keys & {"maximum", "exclusiveMaximum"}
                )
                long = (kind == "string" and "maxLength" not in leaf) or (kind == "array" and "maxItems" not in leaf)
                if numeric or long:
                    unbounded.append(f"{name}.{field}")
    assert sorted(set(unbounded)) == []


def test_no_word_of_pydantics_own_is_left(document: Schema) -> None:
    """Bounds are called as JSON Schema calls them."""
    for name, found in fields(document):
        for leaf in leaves(found):
            assert not leaf.keys() & {"ge", "gt", "le", "lt"}, name


def models(root: type[BaseModel], found: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """A model and all models inside its fields."""
    if root.__name__ not in found:
        found[root.__name__] = root
        for field in root.model_fields.values():
            for inner in inside(field.annotation):
                models(inner, found)
    return found


def inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, UnionType) or typing.get_origin(annotation) is not None:
        for inner in typing.get_args(annotation):
            yield from inside(inner)


EVERY = (
    models(ComparisonSpec, {})
    | models(Comparison, {})
    | models(TrialReport, {})
    | models(Page, {})
    | models(Workers, {})
)


@pytest.mark.parametrize("name", EVERY)
def test_every_example_holds(name: str) -> None:
    """What the manual shows for a field is accepted in that field."""
    for field, found in EVERY[name].model_fields.items():
        for example in found.examples or ():
            definition: Any = (Annotated[found.annotation, found], ...)
            one = create_model("one", __base__=View, field=definition)
            assert one.model_validate({"field": example}), field


def test_the_manuals_own_comparison_is_accepted(service: Service, document: Schema) -> None:
    """The example of the whole request can be sent as it stands."""
    assert document["components"]["schemas"]["ComparisonSpec"]["examples"] == [EXAMPLE]
    assert service.client.post("/v1/comparisons", json=EXAMPLE).status_code == 202


def test_short_forms_are_in_the_manual(document: Schema) -> None:
    """Where a bare name may stand the schema says so, and lists just the kinds that need nothing else."""
    schemas = document["components"]["schemas"]
    optimizer = schemas["ComparisonSpec"]["properties"]["optimizers"]["items"]
    assert set(optimizer["anyOf"][0]["enum"]) == {model.model_fields["kind"].default for model in OPTIMIZERS}
    layer = schemas["Layers"]["properties"]["layers"]["items"]
    assert {"dropout", "flatten", "global_pool"} <= set(layer["anyOf"][0]["enum"])
    assert "anyOf" not in schemas["ComparisonSpec"]["properties"]["network"]


def test_errors_are_in_the_manual(document: Schema) -> None:
    """Every operation says that it answers errors with problem documents."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            told = operation["responses"]["default"]["content"]["application/problem+json"]["schema"]
            assert told == {"$ref": "#/components/schemas/ProblemDocument"}, (method, path)
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()


def test_the_page_needs_no_other_host(service: Service) -> None:
    """/docs loads its scripts from the service itself, and / leads there."""
    page = service.client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert "swagger-ui" in page.text
    for word in page.text.replace("'", '"').split('"'):
        assert not word.startswith(("http://", "https://", "//")), word
        if word.startswith("/docs/static"):
            assert service.client.get(word).status_code == 200


def test_the_catalogue_has_all_there_is(service: Service) -> None:
    """Every registered name is in the catalogue, with description, formula or source, defaults and bounds."""
    found = service.client.get("/v1/catalogue").json()
    expected = {
        "optimizers": OPTIMIZERS,
        "activations": ACTIVATIONS,
        "initialisers": INITIALISERS,
        "problems": PROBLEMS,
        "layers": LAYERS,
        "normalizations": HIDDEN_NORMALIZATIONS,
        "shortcuts": SHORTCUTS,
        "regularizers": REGULARIZERS,
    }
    for family, models_ in expected.items():
        entries = found[family]
        assert [entry["kind"] for entry in entries] == [model.model_fields["kind"].default for model in models_]
        assert all(entry["description"] for entry in entries)
    assert tuple(column["name"] for column in found["keys"] + found["statistics"]) == COLUMNS
    for entry, model in zip(found["optimizers"], OPTIMIZERS, strict=True):
        assert entry["formula"]
        assert entry["source"]
        assert entry["family"]
        assert issubclass(model, Optimizer)
        expected_names = model.model_fields.keys() - Optimizer.model_fields.keys() - {"kind"}
        assert {parameter["name"] for parameter in entry["hyperparameters"]} == expected_names
        for parameter in entry["hyperparameters"]:
            assert parameter["description"]
            assert parameter["default"] is not None
            if parameter["type"] in ("number", "integer"):
                assert (parameter["minimum"] is None) != (parameter["above"] is None)
    offered = [(field, model.model_fields["kind"].default) for field, models_ in FIELDS.items() for model in models_]
    assert [(entry["field"], entry["kind"]) for entry in found["wrappers"]] == offered
    assert all(entry["formula"] and entry["source"] and entry["description"] for entry in found["wrappers"])
    assert {entry["kind"]: entry["refuses"] for entry in found["optimizers"]}["sgd"] == {}
    for entry in found["activations"]:
        assert entry["formula"] or entry["kind"] == "expression"
        assert entry["source"]
    for entry in found["initialisers"] + found["normalizations"] + found["shortcuts"]:
        assert entry["source"]


def test_catalogue_examples_are_accepted(service: Service) -> None:
    """Every optimizer of the catalogue can be submitted with its own examples as hyper-parameters, on a network that it may train."""
    found = service.client.get("/v1/catalogue").json()
    small = {"network": {"kind": "mlp", "depth": 2, "width": 4}, "variants": {}}
    bounded = [entry["kind"] for entry in found["optimizers"] if entry["most_parameters"]]
    assert bounded == ["cma_es"]
    for entry in found["optimizers"]:
        given = {parameter["name"]: parameter["default"] for parameter in entry["hyperparameters"]}
        network = small if entry["kind"] in bounded else {}
        body = EXAMPLE | {"optimizers": [{"kind": entry["kind"], **given}]} | network
        assert service.client.post("/v1/comparisons", json=body).status_code == 202, entry["kind"]
