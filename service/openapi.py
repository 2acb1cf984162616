"""The OpenAPI document: the manual. FastAPI writes most of it; the request's schema and the problem documents come from here."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.errors import MEDIA_TYPE, TITLES, ProblemDocument
from service.schemas import Schema, presentable, spec_schema
from workers.contract.comparison import ComparisonSpec

PROBLEM = {"$ref": "#/components/schemas/ProblemDocument"}

REASONS = {
    "400": TITLES["not_json"],
    "404": TITLES["not_found"],
    "409": TITLES["wrong_state"],
    "413": TITLES["too_large"],
    "415": TITLES["wrong_media_type"],
    "422": TITLES["invalid_request"],
    "503": TITLES["unavailable"],
}

EXAMPLE = {
    "name": "six sigmoid layers on digits",
    "problem": "digits",
    "network": {"kind": "mlp", "depth": 6, "width": 64, "activation": "sigmoid", "init": "xavier_normal"},
    "optimizers": ["sgd", {"kind": "rmsprop", "lr": [0.001, 0.01]}, "rprop"],
    "tuning": {"points": 5, "decades": 2, "seeds": 2},
    "seeds": 5,
    "steps": 1000,
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
        )
        components: Schema = document.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            components.pop(unused, None)
        for model in (ComparisonSpec, ProblemDocument):
            schema = dict(spec_schema(model))
            components.update(schema.pop("$defs", {}))
            components[model.__name__] = schema
        components["ComparisonSpec"]["examples"] = [EXAMPLE]
        for schema in components.values():
            presentable(schema, components)
        for path in document["paths"].values():
            for operation in path.values():
                _tell_problems(operation["responses"])
        app.openapi_schema = document
    return app.openapi_schema


def _tell_problems(responses: Schema) -> None:
    """What goes wrong is a problem document in every operation, not only where something is listed."""
    for status in [status for status in responses if status >= "400"]:
        responses[status] = _problem(REASONS[status])
    responses["default"] = _problem("Anything else that goes wrong")


def _problem(description: str) -> Schema:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
