"""Reading JSON bodies, and reporting their errors."""

import pytest

from service.errors import InvalidRequest, NotJson
from service.helper.request_bodies import JsonTable, parse_table, read_content
from service.specs.upload import ReadOptions
from tests.support.field_errors import refusal


def test_all_errors_of_a_dataset_are_reported_at_once() -> None:
    """Errors in the data are reported together with misspelt fields."""
    document = {"columns": {"a": [1, "x"], "b": [1]}, "types": {"c": "foo"}, "typs": {}}
    found = refusal(lambda: read_content(JsonTable(document), ReadOptions()))
    assert set(found) == {"#/types/c", "#/typs", "#/columns/b", "#/columns/a/1"}
    for document in ([], {}, 1):
        with pytest.raises(InvalidRequest):
            read_content(JsonTable(document), ReadOptions())


@pytest.mark.parametrize(
    ("body", "is_lines"),
    [
        (b'{"a": 1}\n{"a": 2}', False),
        (b'\n{"a": 1}\r\n\r\n{"a": 2}\n\n', False),
        (b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n', True),
        (b'[{"a": 1}, {"a": 2}]', False),
        (b'\xef\xbb\xbf[{"a": 1}, {"a": 2}]', False),
    ],
)
def test_rows_are_parsed_from_lists_and_lines(body: bytes, is_lines: bool) -> None:
    """JSON Lines are recognized by an object in the first line, and empty lines are skipped."""
    assert parse_table(body, is_lines).document == [{"a": 1}, {"a": 2}]
    assert parse_table(b'{"a": 1}\n', is_lines=True).document == [{"a": 1}]


def test_broken_lines_are_named() -> None:
    """A syntax error or a repeated name in JSON Lines names the line; other bodies are JSON."""
    with pytest.raises(NotJson, match="The body is not valid JSON: line 3, column "):
        parse_table(b'{"a": 1}\n\n{"a": \n')
    found = refusal(lambda: parse_table(b'{"a": 1}\n\n{"a": 1, "a": 2}\n'))
    assert found["#/1/a"].startswith("Line 3: `a` appears more than once")
    with pytest.raises(NotJson, match=r"^The body is not valid JSON"):
        parse_table(b'{"a": 1,\n"b": }')
