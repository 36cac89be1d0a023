"""Strict parsing of JSON documents (RFC 8259)."""

import codecs
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from service.errors import FieldErrors, NotJson, pointer_to
from service.specs.json_size import check_size
from service.specs.json_syntax import explain


def parse_json(body: bytes, is_table: bool = False) -> Any:
    """Parse a JSON body strictly: NaN, numbers beyond a double, deep nesting and repeated names are errors.

    Raises:
        NotJson: With the position of the syntax error.
        ContentTooLarge: The document has too many values.
        InvalidRequest: With every name that appears twice in one object.
    """
    check_size(body)
    body = body.removeprefix(codecs.BOM_UTF8)  # parsers may ignore it (section 8.1)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(explain(error, body, is_table)) from None
    if _has_lost_members(body, document):
        _check_repeated_names(body)
    return document


def _has_lost_members(body: bytes, document: Any) -> bool:
    """Check cheaply whether parsing may have dropped members, as it does for repeated names.

    The document then has fewer colons than the body.
    """
    try:
        return body.count(b":") > orjson.dumps(document).count(b":")
    except orjson.JSONEncodeError:  # nested too deep, or half of a surrogate pair: reported later
        return False


class _Object(dict[str, Any]):
    """A JSON object.

    Attributes:
        repeated: The names that appear more than once.
    """

    __slots__ = ("repeated",)

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.repeated: list[str] = []
        if len(self) < len(members):
            counts = Counter(name for name, _ in members)
            self.repeated = [name for name, times in counts.items() if times > 1]


def _check_repeated_names(body: bytes) -> None:
    errors = FieldErrors()
    _add_repeated_names(json.loads(body, object_pairs_hook=_Object, parse_int=float), [], errors)
    errors.raise_if_any()


def _add_repeated_names(value: Any, path: list[str | int], errors: FieldErrors) -> None:
    """Add an error for each repeated name in a value and the values in it; `path` is that of the value."""
    if isinstance(value, _Object):
        for name in value.repeated:
            detail = f"`{name}` appears more than once in this object; give it once."
            errors.add(pointer_to("#", *path, name), detail)
    members: Iterable[tuple[str | int, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in members:
        if isinstance(each, dict | list):
            path.append(key)
            _add_repeated_names(each, path, errors)
            path.pop()
