"""Limits of the number of values in a JSON document."""

import tracemalloc

import pytest

from service.errors import ContentTooLarge
from service.specs.json_document import parse_json
from service.specs.json_size import MAX_CONTAINERS, MAX_NAMES, MAX_TEXTS


@pytest.mark.parametrize(
    ("piece", "times", "nouns"),
    [
        (b"[],", MAX_CONTAINERS, "arrays and objects"),
        (b"{},", MAX_CONTAINERS, "arrays and objects"),
        (b'{"a":[]},', MAX_CONTAINERS // 2, "arrays and objects"),
        (b"[[[[]]]],", MAX_CONTAINERS // 4, "arrays and objects"),
        (b'"a",', MAX_TEXTS, "texts"),
        (b'{"name of one column":1,"name of another column":2},', MAX_NAMES // 2, "names"),
    ],
    ids=["arrays", "objects", "pairs", "nested arrays", "texts", "names"],
)
def test_a_document_of_too_many_values_is_refused_before_it_is_parsed(
    piece: bytes, times: int, nouns: str
) -> None:
    """Each limit is refused with the formats for larger data."""
    body = b'{"data":[' + piece * times + b"[1],2,{}]}"
    with pytest.raises(ContentTooLarge, match=f"more than [0-9,]+ {nouns} of JSON; send a large table"):
        parse_json(body)


@pytest.mark.parametrize("number", [b"0", b"300", b"null"])
def test_numbers_are_limited_by_their_bytes_only(number: bytes) -> None:
    """Many numbers in few arrays, such as images, are read in memory that the body bounds."""
    body = b"[" + b",".join([b"[" + b",".join([number] * 1000) + b"]"] * 1000) + b"]"
    tracemalloc.start()
    try:
        assert len(parse_json(body)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 22 * len(body)
    finally:
        tracemalloc.stop()


def test_counting_takes_little_memory() -> None:
    """Neither the values nor copies of the body take memory."""
    body = b'["' + b"[" * MAX_CONTAINERS * 32 + b'"' + b',""' * 2**19 + b",[]" * MAX_CONTAINERS + b"]"
    tracemalloc.start()
    try:
        with pytest.raises(ContentTooLarge):
            parse_json(body)
        assert tracemalloc.get_traced_memory()[1] < len(body)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("[{", MAX_CONTAINERS),
        (":", MAX_NAMES),
        ('\\"[', MAX_CONTAINERS),
        ("\\\\[", MAX_CONTAINERS),
        ('\\\\\\"{', MAX_CONTAINERS),
        ("\\u005b[", MAX_CONTAINERS),
        pytest.param('\\"', 2 * MAX_TEXTS, marks=pytest.mark.exhaustive),
    ],
    ids=str,
)
def test_values_are_counted_outside_of_texts(text: str, limit: int) -> None:
    """Texts may have any number of brackets, commas and colons, wherever backslashes stand."""
    times = limit + 2**20  # not a multiple of the pieces in which the body is read
    repeated = text.encode() * times
    document = parse_json(b'["' + repeated + b'",[{"a":"' + text.encode() + b'"}]]')
    assert len(document) == 2
    with pytest.raises(ContentTooLarge):
        parse_json(b'["' + repeated + b'"' + b",[]" * MAX_CONTAINERS + b"]")
