"""The cause of a body that is not JSON is named, with what to send instead."""

import orjson
import pytest

from service.specs.json_syntax import explain


@pytest.mark.parametrize(
    ("body", "position", "remedy"),
    [
        ('{"a": NaN}', 7, "`NaN` is no number of JSON; send null"),
        ('{"a": nan}', 7, "`nan` is no number of JSON; send null"),
        ('{"a": [1, -Infinity]}', 12, "`-Infinity` is no number of JSON; send null"),
        ('{"a": inf}', 7, "`inf` is no number of JSON; send null"),
        ('{"a": 1e999}', 7, "beyond a double's range"),
        ('{"a": NA}', 7, "`NA` is no value of JSON; send null"),
        ('{"a": undefined}', 7, "`undefined` is no value of JSON; send null"),
        ('{"a": [1,,2]}', 10, "a value is missing before the comma; send null"),
        ('{"a": True}', 7, "`True` is Python; JSON has true and false"),
        ('{"a": None}', 7, "`None` is Python; JSON has null"),
        ("{'a': 1}", 2, "in double quotes"),
        ("{“a”: 1}", 2, "in plain double quotes"),
        ("{a: 1}", 2, 'names are in double quotes, `"a": …`'),
        ('{"a": 1,}', 8, "remove the comma before the closing bracket"),
        ('{"a": [1, 2,]}', 12, "remove the comma before the closing bracket"),
        ('// a fit\n{"a": 1}', 1, "JSON has no comments"),
        ('{"a": 1, /* b */ "c": 2}', 10, "JSON has no comments"),
        ('{"a": 1} # b', 10, "a second document follows"),
        ('{"a": +1}', 7, "a number has no plus sign"),
        ('{"a": .5}', 7, "as in 0.5"),
        ('{"zip": 01234}', 9, "send a code such as a zip code as text"),
        ('{"a": 1_000}', 8, "decimal digits only"),
        ('{"a": "b\nc"}', 9, "written as `\\n`"),
        ('{"path": "C:\\data"}', 13, "a backslash in a text is written twice"),
        ('{"a": 1', 8, "the body ends inside the document"),
        ("", 1, "the body is empty"),
        ("a=1&b=2", 1, "this looks like a form"),
        ('{"ä": NaN}', 7, "`NaN` is no number of JSON"),
    ],
)
def test_the_cause_and_the_remedy_are_named(body: str, position: int, remedy: str) -> None:
    """What other languages accept is named at its position."""
    with pytest.raises(orjson.JSONDecodeError) as raised:
        orjson.loads(body.encode())
    detail = explain(raised.value, body.encode())
    assert detail.startswith("The body is not valid JSON: line ")
    assert f"column {position}: " in detail or "\n" in body
    assert remedy in detail


def test_bytes_that_are_no_text_are_named() -> None:
    """A file in place of JSON is named as such."""
    with pytest.raises(orjson.JSONDecodeError) as raised:
        orjson.loads(b"PAR1\xff\xfe")
    assert "the bytes are not UTF-8 text" in explain(raised.value, b"PAR1\xff\xfe")


@pytest.mark.parametrize(
    ("body", "remedy", "of_tables"),
    [
        (b'{"a": 1}\n{"a": 2}', "a second document follows; send one", "JSON Lines"),
        ('{"a": "\xe4"}'.encode("latin-1"), "encode the document as UTF-8", "Content-Type"),
        ('{"a": 1}'.encode("utf-16"), "encode the document as UTF-8", "Content-Type"),
        ('{"a": 1}'.encode("utf-16-le"), "encode the document as UTF-8", "Content-Type"),
    ],
)
def test_other_formats_are_advised_for_tables_only(body: bytes, remedy: str, of_tables: str) -> None:
    """A request for a job is one document in UTF-8; a table may also be sent in another format."""
    with pytest.raises(orjson.JSONDecodeError) as raised:
        orjson.loads(body)
    assert explain(raised.value, body).endswith(f"{remedy}.")
    detail = explain(raised.value, body, is_table=True)
    assert f"{remedy}, or " in detail
    assert of_tables in detail
