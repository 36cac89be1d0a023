import pytest

from service.datasets.validation import MOST_LISTED, ErrorCollector, counted, shown
from service.errors import InvalidRequest


def test_no_error_raises_nothing() -> None:
    """A check of nothing noted lets the request pass."""
    ErrorCollector().raise_if_any()


def test_first_hundred_are_listed_and_all_are_counted() -> None:
    """A flood of errors is cut after 100, and the detail says how many there are."""
    errors = ErrorCollector()
    for row in range(250):
        errors.add(f"#/columns/a/{row}", "bad")
    with pytest.raises(InvalidRequest, match="250") as raised:
        errors.raise_if_any()
    assert len(raised.value.errors) == MOST_LISTED


def test_a_failure_raises_what_was_noted_before() -> None:
    """The error that ends the look-over comes with those found until then."""
    errors = ErrorCollector()
    errors.add("#/a", "first")
    with pytest.raises(InvalidRequest) as raised:
        errors.fail("#/b", "last")
    assert [error.pointer for error in raised.value.errors] == ["#/a", "#/b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [("abc", '"abc"'), (None, "null"), (True, "true"), ([[1]], "a list"), ({"a": 1}, "an object")],
)
def test_values_are_shown_as_json(value: object, text: str) -> None:
    """A message quotes a value as the client wrote it, containers by kind."""
    assert shown(value) == text


def test_long_values_are_cut() -> None:
    """A message stays short whatever the client sent."""
    assert len(shown("x" * 10_000)) == 41


def test_counted_nouns_agree() -> None:
    """One row, but two rows."""
    assert (counted(1, "row"), counted(2, "row")) == ("1 row", "2 rows")
