"""Published schemas: pydantic's, written so that validators and generators of clients read them alike."""

from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from typing import Any

import orjson

from service.specs.base import ID_PATTERNS

JsonSchema = dict[str, Any]

_LONGEST_DEFAULT = 40  # characters; a longer default is that of the fields of the linked schema
_REF = "#/components/schemas/"
_NULL = {"type": "null"}
_OF_PATHS: Mapping[str, JsonSchema] = {
    "job_id": {"pattern": ID_PATTERNS["job"]},
    "dataset_id": {"pattern": ID_PATTERNS["ds"]},
    "parameter_set_id": {"pattern": ID_PATTERNS["par"]},
    "name": {"minLength": 1},
}
"""Patterns of path parameters; any other value is answered with 404."""


def publish_components(schemas: Mapping[str, JsonSchema]) -> dict[str, JsonSchema]:
    """Return all schemas of the document as they are published, in alphabetical order.

    An object within a union that has a title becomes a schema of its own, with this name.
    """
    found: dict[str, JsonSchema] = {}
    for name, schema in schemas.items():
        alternatives = schema.get("oneOf", ())
        titled = {each["title"]: each for each in alternatives if "title" in each}
        found |= {**titled, name: schema}
        if titled:
            refs = [{"$ref": f"{_REF}{each['title']}"} if "title" in each else each for each in alternatives]
            found[name] = {**schema, "oneOf": refs}
    published = {name: publish(schema) for name, schema in sorted(found.items())}
    return {name: _with_exact_unions(schema, published) for name, schema in published.items()}


def publish(schema: JsonSchema) -> JsonSchema:
    """Return a schema without titles, defaults and patterns of properties.

    Titles repeat names. Generators take a default for a value that is always there; it is a part of the
    description instead. They don't know `patternProperties`, which pydantic writes for a map whose names all
    have the same pattern.
    """
    schema = {key: value for key, value in schema.items() if key not in ("default", "title")} | _told(schema)
    if "patternProperties" in schema:
        ((pattern, entries),) = schema.pop("patternProperties").items()
        names = {**schema.get("propertyNames", {}), "pattern": pattern}
        schema |= {"additionalProperties": entries, "propertyNames": names}
    return _mapped(schema, publish) | {
        key: [publish(each) | _name_of_enum(each) for each in schema[key]]
        for key in ("anyOf", "oneOf")
        if key in schema
    }


def publish_parameter(parameter: JsonSchema, header_names: Mapping[str, str]) -> JsonSchema:
    """Return a parameter with the usual case of a header's name; it may be absent, but is never null."""
    schema = {key: value for key, value in parameter["schema"].items() if key not in ("title", "description")}
    others = [each for each in schema.get("anyOf", ()) if each != _NULL]
    if others and len(others) < len(schema["anyOf"]):
        del schema["anyOf"]
        schema |= others[0] if len(others) == 1 else {"anyOf": others}
    name = parameter["name"]
    if parameter["in"] == "path":
        schema |= _OF_PATHS.get(name, {})
    return {**parameter, "name": header_names.get(name, name), "schema": schema}


def _name_of_enum(alternative: JsonSchema) -> JsonSchema:
    """Return the title of an enum in a union: generators need it as a name."""
    return {key: alternative[key] for key in ("title",) if "enum" in alternative and key in alternative}


def _told(schema: JsonSchema) -> JsonSchema:
    """Return the description with the default, if the schema has one that is worth telling."""
    default = schema.get("default")
    text = "" if default in (None, [], {}) else orjson.dumps(default).decode()
    if not text or len(text) > _LONGEST_DEFAULT:
        return {}
    return {"description": f"{schema.get('description', '')} Default: `{text}`.".strip()}


def _mapped(schema: JsonSchema, function: Any) -> JsonSchema:
    """Return a schema with a function applied to each schema directly within it."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: function(each) for name, each in schema["properties"].items()}
    for key in ("items", "additionalProperties", "propertyNames", "not"):
        if isinstance(schema.get(key), dict):
            schema[key] = function(schema[key])
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if key in schema:
            schema[key] = [function(each) for each in schema[key]]
    return schema


def _with_exact_unions(schema: JsonSchema, schemas: Mapping[str, JsonSchema]) -> JsonSchema:
    """Write `oneOf` for a union of several alternatives of which one matches at most.

    Generators of clients then make a union, not an object with the fields of all. `null` beside a single
    alternative stays `anyOf`, the usual form of an optional value.
    """
    schema = _mapped(schema, lambda each: _with_exact_unions(each, schemas))
    # A union within a union, which an optional union is, adds its own alternatives.
    alternatives = [part for each in schema.get("anyOf", ()) for part in each.get("oneOf", [each])]
    alternatives = _without_integer_of_number(alternatives)
    several = sum(each != _NULL for each in alternatives) > 1
    if several and all(_are_disjoint(*pair, schemas) for pair in combinations(alternatives, 2)):
        del schema["anyOf"]
        schema["oneOf"] = alternatives
    return schema


def _are_disjoint(first: JsonSchema, second: JsonSchema, schemas: Mapping[str, JsonSchema]) -> bool:
    """Return whether no value is valid by both: by their types, or as closed objects by their fields."""
    types, others = set(_json_types(first, schemas)), set(_json_types(second, schemas))
    if "any" not in types | others and not types & others:
        return True
    objects = [
        schemas[each["$ref"].removeprefix(_REF)] if "$ref" in each else each for each in (first, second)
    ]
    closed = all(each.get("additionalProperties") is False for each in objects)
    return closed and any(
        set(one.get("required", ())) - other["properties"].keys() for one, other in permutations(objects)
    )


def _without_integer_of_number(alternatives: list[JsonSchema]) -> list[JsonSchema]:
    """Drop the integers of a union with all numbers."""
    if {"type": "number"} not in alternatives:
        return alternatives
    return [each for each in alternatives if each != {"type": "integer"}]


def _json_types(schema: JsonSchema, schemas: Mapping[str, JsonSchema]) -> Iterator[str]:
    """Yield the JSON types of a schema's values; `any` if they are not declared."""
    if "$ref" in schema:
        yield from _json_types(schemas[schema["$ref"].removeprefix(_REF)], schemas)
    elif unions := schema.get("anyOf") or schema.get("oneOf"):
        yield from {found for each in unions for found in _json_types(each, schemas)}
    else:
        declared = schema.get("type", "any")
        names = declared if isinstance(declared, list) else [declared]
        yield from ("number" if name == "integer" else name for name in names)
