"""Published schemas of the data in a request: tables as JSON, and tensors as nested lists.

Their values are validated where they are read, in `service.datasets`, which names the cell of each error.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from service.specs.base import Spec

JsonSchema = dict[str, Any]

# Items have no type, only those that they don't have: generated clients take and return plain lists of them.
_CELL: JsonSchema = {"not": {"type": ["array", "object"], "items": {}}}
_NUMBERS: JsonSchema = {"not": {"type": ["object", "string"]}}
CELLS: JsonSchema = {"type": "array", "items": _CELL}
_ANYTHING: JsonSchema = {}  # in a column that a model ignores
NESTED_NUMBERS: JsonSchema = {"type": "array", "items": _NUMBERS}
_TENSOR = {**NESTED_NUMBERS, "minItems": 1}
_COLUMN_NAME = {"type": "string", "minLength": 1, "maxLength": 256}


def _columns(name: JsonSchema, cells: JsonSchema) -> JsonSchema:
    return {"type": "object", "minProperties": 1, "propertyNames": name, "additionalProperties": cells}


def _rows(cell: JsonSchema) -> JsonSchema:
    return {
        "type": "array",
        "minItems": 1,
        "items": {"type": "object", "additionalProperties": cell},
    }


def _split(cell: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "description": 'A table, as pandas\' `frame.to_dict("split")`.',
        "required": ["columns", "data"],
        "additionalProperties": False,
        "properties": {
            "columns": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": _COLUMN_NAME,
                "description": "Names of the columns.",
            },
            "data": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "items": cell},
                "description": "Rows, each a list of the values in the order of `columns`.",
            },
            "index": {"description": "Labels of the rows; ignored."},
        },
    }


Columns = Annotated[Any, WithJsonSchema(_columns(_COLUMN_NAME, {**CELLS, "minItems": 1}))]
"""Cells by column name. A cell is text, a number, a boolean, or null for a missing value."""

Rows = Annotated[Any, WithJsonSchema(_rows(_CELL))]
"""Objects of column name to cell."""

DataframeSplit = TypeAliasType("DataframeSplit", Annotated[Any, WithJsonSchema(_split(_CELL))])

ModelColumns = Annotated[Any, WithJsonSchema(_columns(_ANYTHING, _ANYTHING))]
"""The same for a model, which ignores columns that it does not know."""

ModelRows = Annotated[Any, WithJsonSchema(_rows(_ANYTHING))]

ModelSplit = TypeAliasType("ModelSplit", Annotated[Any, WithJsonSchema(_split(_ANYTHING))])

TensorInputs = TypeAliasType(
    "TensorInputs",
    Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "Tensors [B, …]: a nested list of numbers or booleans, or an object of such "
                "lists by input name.",
                "oneOf": [
                    _TENSOR,
                    {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": _COLUMN_NAME,
                        "additionalProperties": _TENSOR,
                    },
                ],
            }
        ),
    ],
)

Targets = Annotated[Any, WithJsonSchema(_TENSOR)]
"""Nested list [B, …]."""

Weights = Annotated[
    Any, WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0}})
]
"""List [B] of numbers."""


def _without_null(field: JsonSchema) -> JsonSchema:
    """Return the schema of an optional field for a form that requires it."""
    if "anyOf" not in field:
        return field
    (required,) = (each for each in field["anyOf"] if each != {"type": "null"})
    return {**required, "description": field["description"]}


class OneForm(Spec):
    """Base class of a body that has its rows in exactly one of several forms.

    Its schema is one of several closed objects, each with the fields that all forms share.

    Attributes:
        forms: Required and optional fields of each form, by its name in the schema.
    """

    forms: ClassVar[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]]

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        whole = handler.resolve_ref_schema(handler(schema))
        fields = whole.pop("properties")
        del whole["type"], whole["additionalProperties"]
        of_forms = {name for required, optional in cls.forms.values() for name in (*required, *optional)}
        shared = {name: field for name, field in fields.items() if name not in of_forms}
        whole["oneOf"] = [
            {
                "title": title,
                "type": "object",
                "description": f"{whole['description'].partition('.')[0]}: the form with `{required[0]}`.",
                "required": list(required),
                "properties": {
                    **{name: _without_null(fields[name]) for name in required},
                    **{name: fields[name] for name in optional},
                    **shared,
                },
                "additionalProperties": False,
            }
            for title, (required, optional) in cls.forms.items()
        ]
        for form in whole["oneOf"]:
            if form["required"] == ["rows"]:
                # The rows may also be the whole body. Without a type, the form is valid for a list, too, and
                # generators of clients take it for the object alone: some can't write a union with a list.
                del form["type"]
                form |= {key: fields["rows"][key] for key in ("items", "minItems")}
                form["not"] = {"type": ["boolean", "null", "number", "string"]}
        return whole
