import pyarrow as pa
import pytest

from service.datasets.sources.columns import BOOLEAN, NUMBER, TEXT, check_name, from_values
from service.datasets.validation import ErrorCollector
from tests.support.field_errors import error_details


def pointer_to_row(row: int) -> str:
    return f"#/columns/a/{row}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], NUMBER),
        ([None, None], NUMBER),
        ([True, None, False], BOOLEAN),
        (["a", None, ""], TEXT),
    ],
)
def test_json_values_determine_the_type_of_their_column(values: list[object], expected: pa.DataType) -> None:
    """JSON values of one type become a column of the corresponding type; null stays null."""
    column = from_values(values, pointer_to_row, ErrorCollector())
    assert column.type == expected
    assert column.to_pylist() == values


def test_integers_keep_their_digits() -> None:
    """Integers are exact up to 64 bits; larger ones become text, since no number holds their digits."""
    assert from_values([2**53 + 1, -(2**63), None], pointer_to_row, ErrorCollector()).to_pylist() == [
        2**53 + 1,
        -(2**63),
        None,
    ]
    texts = from_values([1, 2**70, None], pointer_to_row, ErrorCollector())
    assert texts.to_pylist() == ["1", str(2**70), None]


def test_numbers_beyond_a_double_are_refused() -> None:
    """A number outside the range of a double is an error at its cell."""
    errors = ErrorCollector()
    from_values([1.5, -(10**400)], pointer_to_row, errors)
    assert "outside the range of a double" in error_details(errors)["#/columns/a/1"]


def test_cells_of_another_type_are_reported() -> None:
    """The cells that are not of the column's most frequent type are an error with the first value."""
    errors = ErrorCollector()
    from_values([1, "abc", None, 2.0, True, [1]], pointer_to_row, errors)
    assert error_details(errors) == {
        "#/columns/a/1": '"abc" is not allowed in a column of numbers. '
        "The same is wrong in 2 more rows: 4, 5."
    }


def test_unpaired_surrogates_are_refused() -> None:
    """Text that is not valid Unicode is an error at its cell."""
    errors = ErrorCollector()
    from_values(["a", "\ud800"], pointer_to_row, errors)
    assert list(error_details(errors)) == ["#/columns/a/1"]


@pytest.mark.parametrize("name", ["", "x" * 257, "\ud800"])
def test_invalid_names_are_refused(name: str) -> None:
    """A name must have 1 to 256 characters of valid Unicode."""
    errors = ErrorCollector()
    check_name(name, "#/columns", errors)
    assert errors.count == 1
