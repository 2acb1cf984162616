"""From pydantic's location of an error to the place in the body that was sent.

pydantic mixes the tags of unions into its locations: ('optimizers', 1, 'rmsprop', 'lr', 'grid', 0) is
/optimizers/1/lr/0. A tag can be spelled like a field (a network of kind `layers` has a field `layers`), so the location
is followed through the JSON Schema, which knows where a union stands, and through the body at once.
"""

from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel

from service.bodies import escape
from workers.contract.optimizers.bridged import BRIDGED, arguments_of

Schema = dict[str, Any]


class Place(NamedTuple):
    pointer: str
    value: object
    """What stands there; None if nothing does."""
    schema: Schema
    """What may stand there; empty where that is one of several."""
    parent: Schema
    """The schema of the object or list around it."""
    named: str
    """The last field name on the way."""


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def locate(model: type[BaseModel], location: tuple[int | str, ...], body: object) -> Place:
    """Follows an error's location into the body it was found in."""
    root = schema_of(model)
    pointer, named = "", ""
    schema: Schema = root
    parent: Schema = {}
    value: object = body
    for part in location:
        schema = _resolve(schema, root)
        if "discriminator" in schema:
            schema = _resolve({"$ref": schema["discriminator"]["mapping"].get(part, "")}, root)
            if part in BRIDGED:
                schema = _with_arguments(schema, str(part))
        elif "oneOf" in schema or "anyOf" in schema:
            schema = _member(schema, part)
        elif part == "[key]":  # it is the name that is wrong, not what it names
            value = named
            break
        elif isinstance(value, str):  # a bare string, which stands for {"kind": string}, holds nothing to point at
            named = str(part)
            break
        else:
            parent = schema
            pointer += f"/{escape(str(part))}"
            value = _inside(value, part)
            named = named if isinstance(part, int) else part
            schema = schema.get("items", {}) if isinstance(part, int) else _property(schema, part)
    return Place(pointer, value, _resolve(schema, root), parent, named)


def _with_arguments(schema: Schema, kind: str) -> Schema:
    """Of a bridged class, with its constructor's own arguments as fields."""
    own = schema["properties"] | schema_of(arguments_of(kind))["properties"]
    return schema | {"properties": own | {"kind": {"const": kind}}}


def _resolve(schema: Schema, root: Schema) -> Schema:
    """Without references, and without the null that stands beside a single alternative."""
    while True:
        alternatives = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
        if "$ref" in schema:
            schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
        elif len(alternatives) == 1:
            schema = alternatives[0]
        else:
            return schema


def _member(schema: Schema, tag: int | str) -> Schema:
    """A grid or a value, by the contract's tags; nothing can be followed in other unions."""
    wanted = {"grid": "array", "value": "number"}.get(str(tag))
    return next((one for one in schema.get("oneOf", ()) if one.get("type") == wanted), {})


def _property(schema: Schema, name: str) -> Schema:
    properties: Schema = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    found: Schema = properties.get(name) or (additional if isinstance(additional, dict) else {})
    return found


def _inside(value: object, part: int | str) -> object:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None
