"""Strict parsing of JSON."""

from typing import Any

import orjson
import pytest

from service.errors import NotJson
from service.specs.json_document import parse_json
from tests.support.field_errors import refusal


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b'{"columns": {"a": [1, 2], "a": ["x", "y"]}}', ["#/columns/a"]),
        (b'{"rows": [{"a": 1}, {"a": 1, "b": ":", "a": 2}], "rows": 1, "rows": 2}', ["#/rows"]),
        (b'{"rows": [{"a": 1}, {"a": 1, "a": 2, "b": 3, "b": 3}]}', ["#/rows/1/a", "#/rows/1/b"]),
        (b'[{"a/b": {"c": {}, "c": []}}]', ["#/0/a~1b/c"]),
    ],
)
def test_repeated_names_are_errors(body: bytes, pointers: list[str]) -> None:
    """A name that appears twice in one object is an error at its pointer."""
    assert list(refusal(lambda: parse_json(body))) == pointers


@pytest.mark.parametrize(
    "value", [{"a": ":", "b:": [{"a": "::"}, {"a": 1.50}]}, [], "a:b", 1e300, {"ä": "\n:"}]
)
def test_other_json_is_parsed_unchanged(value: Any) -> None:
    """Colons within strings are not counted as repeated names, and a byte order mark has no meaning."""
    assert parse_json(b"\xef\xbb\xbf" + orjson.dumps(value)) == value
    assert parse_json(orjson.dumps(value)) == value
    assert parse_json(orjson.dumps(value, option=orjson.OPT_INDENT_2)) == value
    with pytest.raises(NotJson):
        parse_json(b'{"a": 1, "a": NaN}')
