"""Content negotiation by quality values, by the rules of RFC 9110, section 12."""

import pytest

from service.api.http.negotiation import best_encoding, best_media_type

TABLE = ["application/json", "text/csv"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], "application/json"),
        ([""], "application/json"),
        (["*/*"], "application/json"),
        (["text/csv"], "text/csv"),
        (["TEXT/CSV; Charset=utf-8"], "text/csv"),
        (["text/*"], "text/csv"),
        (["text/csv;q=0, application/json"], "application/json"),
        (["text/csv;q=0, */*"], "application/json"),
        (["application/json;q=0, */*;q=0.1"], "text/csv"),
        (["application/json, text/csv;q=0.1"], "application/json"),
        (["application/json;q=0.1, text/csv"], "text/csv"),
        (["application/json;q=0.5", "text/csv;q=0.9"], "text/csv"),
        (["application/json;q=0.2, text/*;q=0.3, */*;q=0.9"], "text/csv"),
        (["text/csv, application/json"], "application/json"),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], "application/json"),
        (["application/problem+json"], "application/json"),
        (["application/xml"], None),
        (["text/csvx"], None),
        (["application/json;q=0"], None),
        (["text/csv;q=0.0001, text/csv;q=2"], "application/json"),  # malformed: nothing is said
    ],
)
def test_the_best_media_type_is_chosen(accept: list[str], expected: str | None) -> None:
    """The type of the highest quality is chosen, by the most specific range; the first of equal ones."""
    assert best_media_type(accept, TABLE) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], None),
        (["gzip"], "gzip"),
        (["gzip, deflate, br, zstd"], "zstd"),
        (["gzip;q=1.0, zstd;q=0.5"], "gzip"),
        (["*"], "zstd"),
        (["*;q=0.1, zstd;q=0"], "gzip"),
        (["gzip;q=0"], None),
        (["br"], None),
        (["identity, gzip;q=0.5"], None),
        (["GZIP"], "gzip"),
        (["xgzip"], None),
    ],
)
def test_the_best_encoding_is_chosen(accept: list[str], expected: str | None) -> None:
    """The coding of the highest quality is chosen; without an acceptable one, content is sent as it is."""
    assert best_encoding(accept, ["zstd", "gzip"]) == expected
