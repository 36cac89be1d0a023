import pytest

from service.datasets.validation import ErrorCollector, count_of, quote_value
from service.errors import MAX_LISTED_ERRORS, InvalidRequest


def test_no_error_raises_nothing() -> None:
    """A collector without errors raises nothing."""
    ErrorCollector().raise_if_any()


def test_first_hundred_are_listed_and_all_are_counted() -> None:
    """The first 100 errors are listed, and the detail has the number of all errors."""
    errors = ErrorCollector()
    for row in range(250):
        errors.add(f"#/columns/a/{row}", "bad")
    with pytest.raises(InvalidRequest, match="250") as raised:
        errors.raise_if_any()
    assert len(raised.value.errors) == MAX_LISTED_ERRORS


def test_fail_raises_the_errors_added_before() -> None:
    """`fail` raises its error together with those added before."""
    errors = ErrorCollector()
    errors.add("#/a", "first")
    with pytest.raises(InvalidRequest) as raised:
        errors.fail("#/b", "last")
    assert [error.pointer for error in raised.value.errors] == ["#/a", "#/b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("abc", '"abc"'),
        ("Köln", '"Köln"'),
        ("\ud800", '"\\ud800"'),
        (None, "null"),
        (True, "true"),
        ([[1]], "a list"),
        ({"a": 1}, "an object"),
    ],
)
def test_values_are_quoted_as_json(value: object, text: str) -> None:
    """A value is quoted as JSON, a container by its type; letters are not escaped, surrogates are."""
    assert quote_value(value) == text


def test_long_values_are_cut() -> None:
    """A long value is cut after 40 characters."""
    assert len(quote_value("x" * 10_000)) == 41


def test_nouns_agree_with_their_number() -> None:
    """A noun is in the plural unless the number is 1."""
    assert (count_of(1, "row"), count_of(2, "row")) == ("1 row", "2 rows")
