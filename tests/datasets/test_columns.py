import pyarrow as pa
import pytest

from service.datasets.columns import BOOLEAN, NUMBER, TEXT, check_name, from_cells, from_values, stray_texts
from service.datasets.mistakes import Mistakes
from tests.datasets.mistaken import noted


def place(row: int) -> str:
    return f"#/columns/a/{row}"


def cells(*texts: str | None) -> pa.Array:
    return pa.array(texts, TEXT)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], NUMBER),
        ([None, None], NUMBER),
        ([True, None, False], BOOLEAN),
        (["a", None, ""], TEXT),
    ],
)
def test_values_tell_the_type_of_their_column(values: list[object], expected: pa.DataType) -> None:
    """One kind of JSON value makes one type of column, null stays null."""
    column = from_values(values, place, Mistakes())
    assert column.type == expected
    assert column.to_pylist() == values


def test_integers_that_no_double_holds_are_rounded() -> None:
    """An integer beyond 2^53 becomes the nearest double, as in any JSON reader of doubles."""
    assert from_values([2**53 + 1, 2**70, None], place, Mistakes()).to_pylist() == [2.0**53, 2.0**70, None]


def test_integers_beyond_a_double_are_refused() -> None:
    """An integer too large for a double is an error at its cell."""
    mistakes = Mistakes()
    from_values([1, -(10**400)], place, mistakes)
    assert "beyond a double's range" in noted(mistakes)["#/columns/a/1"]


def test_mixed_kinds_are_told_cell_by_cell() -> None:
    """Each cell that is not of the column's usual kind is pointed at with what was found."""
    mistakes = Mistakes()
    from_values([1, "abc", None, 2.0, True, [1]], place, mistakes)
    assert noted(mistakes) == {
        "#/columns/a/1": '"abc" stands in a column of numbers.',
        "#/columns/a/4": "true stands in a column of numbers.",
        "#/columns/a/5": "a list stands in a column of numbers.",
    }


def test_half_a_surrogate_pair_is_refused() -> None:
    """Text that is no Unicode is an error at its cell, not a crash in storage."""
    mistakes = Mistakes()
    from_values(["a", "\ud800"], place, mistakes)
    assert list(noted(mistakes)) == ["#/columns/a/1"]


@pytest.mark.parametrize("name", ["", "x" * 257, "\ud800"])
def test_impossible_names_are_refused(name: str) -> None:
    """A name is 1 to 256 characters of Unicode."""
    mistakes = Mistakes()
    check_name(name, "#/columns", mistakes)
    assert mistakes.count == 1


def test_cells_of_numbers_are_numbers_with_gaps() -> None:
    """Spaces around numbers are dropped, and the usual words for a missing value are null."""
    column = from_cells(cells("1", " 2.5 ", None, "NaN", "n/a", "-1E3"), place, Mistakes())
    assert column.type == NUMBER
    assert column.to_pylist() == [1.0, 2.5, None, None, None, -1000.0]


def test_cells_of_booleans_are_booleans() -> None:
    """`true` and `false` in any case make a boolean column."""
    column = from_cells(cells("true", "FALSE", None), place, Mistakes())
    assert column.type == BOOLEAN
    assert column.to_pylist() == [True, False, None]


def test_other_cells_are_text_as_written() -> None:
    """A column with one word among numbers is text; `NA` may be a word there."""
    assert from_cells(cells(" 1", "NA", "true", None), place, Mistakes()).to_pylist() == [
        " 1",
        "NA",
        "true",
        None,
    ]


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999"])
def test_infinite_cells_are_refused(text: str) -> None:
    """Infinity is no value of a CSV either."""
    mistakes = Mistakes()
    from_cells(cells("1", text), place, mistakes)
    assert text in noted(mistakes)["#/columns/a/1"]


def test_stray_texts_are_the_few_among_numbers() -> None:
    """What keeps a column from being numbers is told only where most values are numbers."""
    assert stray_texts(pa.chunked_array([cells("1", "x", "2")])) == [(1, "x")]
    assert stray_texts(pa.chunked_array([cells("a", "b", "2")])) == []
