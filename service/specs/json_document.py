"""Strict parsing of JSON documents (RFC 8259)."""

import json
from collections import Counter, deque
from typing import Any

import orjson

from service.errors import FieldErrors, NotJson, pointer_to
from service.specs.json_syntax import explain


def parse_json(body: bytes, is_table: bool = False) -> Any:
    """Parse a JSON body strictly: NaN, numbers beyond a double, deep nesting and repeated names are errors.

    Raises:
        NotJson: With the position of the syntax error.
        InvalidRequest: With every name that appears twice in one object.
    """
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

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.repeated = [name for name, times in Counter(name for name, _ in members).items() if times > 1]


def _check_repeated_names(body: bytes) -> None:
    errors = FieldErrors()
    waiting = deque([("#", json.loads(body, object_pairs_hook=_Object, parse_int=float))])
    while waiting:
        pointer, value = waiting.popleft()
        for name in value.repeated if isinstance(value, _Object) else ():
            errors.add(
                pointer_to(pointer, name), f"`{name}` appears more than once in this object; give it once."
            )
        members = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [
            (pointer_to(pointer, key), each) for key, each in members if isinstance(each, dict | list)
        ]
    errors.raise_if_any()
