"""JSON Schemas of the contract as OpenAPI wants them: proper bounds, the short form of a kind, words on every field."""

from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

BOUNDS = {
    "ge": ("minimum", max),
    "gt": ("exclusiveMinimum", max),
    "le": ("maximum", min),
    "lt": ("exclusiveMaximum", min),
}
"""pydantic writes a bound by its own name where a validator stands before it; here is what JSON Schema calls it, and
which of two bounds holds."""


@cache
def spec_schema(model: type[BaseModel]) -> Schema:
    """The model's own schema, made presentable; references are into components/schemas."""
    schema: Schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    presentable(schema, schema.get("$defs", {}))
    return schema


def presentable(schema: Any, definitions: Schema) -> None:
    """Corrects a schema in place, all the way down."""
    if isinstance(schema, list):
        for item in schema:
            presentable(item, definitions)
    if not isinstance(schema, dict):
        return
    for ours, (theirs, tighter) in BOUNDS.items():
        if isinstance(schema.get(ours), int | float):
            bound = schema.pop(ours)
            schema[theirs] = tighter(bound, schema.get(theirs, bound))
    _drop_weaker(schema, "minimum", "exclusiveMinimum", lambda least, above: least > above)
    _drop_weaker(schema, "maximum", "exclusiveMaximum", lambda most, below: most < below)
    kind = schema.get("properties", {}).get("kind", {})
    if "const" in kind:
        kind.setdefault("description", f"Says what this is: `{kind['const']}`.")
        kind.setdefault("examples", [kind["const"]])
    for key, item in list(schema.items()):
        if key not in ("examples", "example", "default", "discriminator"):
            presentable(item, definitions)
    if "oneOf" in schema and "discriminator" in schema:
        _offer_short_form(schema, definitions)


def _drop_weaker(schema: Schema, closed: str, opened: str, tighter: Callable[[float, float], bool]) -> None:
    """Of a bound that belongs to the values and one that does not, the one that says more."""
    if isinstance(schema.get(closed), int | float) and isinstance(schema.get(opened), int | float):
        schema.pop(opened if tighter(schema[closed], schema[opened]) else closed)


def _offer_short_form(schema: Schema, definitions: Schema) -> None:
    """Where nothing but the kind is required, its name alone will do."""
    mapping = schema["discriminator"]["mapping"]
    short = [kind for kind, reference in mapping.items() if not _required(reference, definitions)]
    if short:
        union = {"oneOf": schema.pop("oneOf"), "discriminator": schema.pop("discriminator")}
        words = 'A kind alone is short for {"kind": …} with its defaults.'
        schema["anyOf"] = [{"type": "string", "enum": short, "description": words}, union]


def _required(reference: str, definitions: Schema) -> bool:
    return bool(definitions.get(reference.rpartition("/")[2], {}).get("required"))
