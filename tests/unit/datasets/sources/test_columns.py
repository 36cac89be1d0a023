from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    DATETIME,
    NUMBER,
    TEXT,
    as_type,
    check_name,
    find_strays,
    from_values,
    told_by_text,
)
from service.datasets.validation import ErrorCollector
from tests.support.field_errors import error_details


def place(row: int) -> str:
    return f"#/columns/a/{row}"


def cells(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, TEXT)])


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
    column = from_values(values, place, ErrorCollector())
    assert column.type == expected
    assert column.to_pylist() == values


def test_integers_that_no_double_holds_are_rounded() -> None:
    """An integer beyond 2^53 becomes the nearest double, as in any JSON reader of doubles."""
    assert from_values([2**53 + 1, 2**70, None], place, ErrorCollector()).to_pylist() == [
        2.0**53,
        2.0**70,
        None,
    ]


def test_integers_beyond_a_double_are_refused() -> None:
    """An integer too large for a double is an error at its cell."""
    errors = ErrorCollector()
    from_values([1, -(10**400)], place, errors)
    assert "beyond a double's range" in error_details(errors)["#/columns/a/1"]


def test_mixed_kinds_are_told_cell_by_cell() -> None:
    """Each cell that is not of the column's usual kind is pointed at with what was found."""
    errors = ErrorCollector()
    from_values([1, "abc", None, 2.0, True, [1]], place, errors)
    assert error_details(errors) == {
        "#/columns/a/1": '"abc" stands in a column of numbers.',
        "#/columns/a/4": "true stands in a column of numbers.",
        "#/columns/a/5": "a list stands in a column of numbers.",
    }


def test_half_a_surrogate_pair_is_refused() -> None:
    """Text that is no Unicode is an error at its cell, not a crash in storage."""
    errors = ErrorCollector()
    from_values(["a", "\ud800"], place, errors)
    assert list(error_details(errors)) == ["#/columns/a/1"]


@pytest.mark.parametrize("name", ["", "x" * 257, "\ud800"])
def test_impossible_names_are_refused(name: str) -> None:
    """A name is 1 to 256 characters of Unicode."""
    errors = ErrorCollector()
    check_name(name, "#/columns", errors)
    assert errors.count == 1


@pytest.mark.parametrize(
    ("texts", "type_name", "expected"),
    [
        (["1", " 2.5 ", None, "NA", "", "-1E3"], "numeric", [1.0, 2.5, None, None, None, -1000.0]),
        (["true", "No", "1", "null"], "boolean", [True, False, True, None]),
        (
            ["2020-02-29", "2020-01-01T10:00:00.5-01:30", "2020-01-01 10:00", "n/a"],
            "datetime",
            [
                datetime(2020, 2, 29),
                datetime(2020, 1, 1, 11, 30, 0, 500_000),
                datetime(2020, 1, 1, 10),
                None,
            ],
        ),
        (["NA", None, ""], "categorical", ["NA", None, ""]),
    ],
)
def test_text_is_read_as_another_type(texts: list[Any], type_name: str, expected: list[Any]) -> None:
    """Text becomes what it spells; it is trimmed, and words for a missing value are missing."""
    errors = ErrorCollector()
    column = as_type(cells(*texts), type_name, place, errors)
    assert errors.count == 0
    assert column.type == ARROW_TYPES[type_name]
    assert column.to_pylist() == expected


@pytest.mark.parametrize(
    ("column", "type_name", "expected"),
    [
        (pa.array([3.0, 0.5, 1e20, None]), "categorical", ["3", "0.5", "1e+20", None]),
        (pa.array([1.0, 0.0, None]), "boolean", [True, False, None]),
        (pa.array([True, None]), "numeric", [1.0, None]),
        (pa.array([True, None]), "categorical", ["true", None]),
        (
            pa.array([datetime(2020, 1, 1), None], DATETIME),
            "categorical",
            ["2020-01-01T00:00:00.000000Z", None],
        ),
    ],
)
def test_values_are_read_as_another_type(column: pa.Array, type_name: str, expected: list[Any]) -> None:
    """Values become what their text spells: a whole number has no point."""
    errors = ErrorCollector()
    assert as_type(pa.chunked_array([column]), type_name, place, errors).to_pylist() == expected
    assert errors.count == 0


@pytest.mark.parametrize(
    ("texts", "type_name"),
    [
        (["1", "1_000", "2"], "numeric"),
        (["1", "inf", "2"], "numeric"),
        (["1", "1e999", "2"], "numeric"),
        (["1", "0x10", "2"], "numeric"),
        (["yes", "maybe", "no"], "boolean"),
        (["2020-01-01", "2019-02-29", "2020-01-02"], "datetime"),
        (["2020-01-01", "01.02.2020", "2020-01-02"], "datetime"),
        (["2020-01-01", "0001-01-01T00:00+01:00", "2020-01-02"], "datetime"),
    ],
)
def test_a_cell_that_is_no_such_value_is_noted(texts: list[str], type_name: str) -> None:
    """What can't be read is told by row and text, and missing in the column."""
    errors = ErrorCollector()
    column = as_type(cells(*texts), type_name, place, errors)
    assert [value is None for value in column.to_pylist()] == [False, True, False]
    ((pointer, detail),) = error_details(errors).items()
    assert pointer == "#/columns/a/1"
    assert detail.startswith(f'"{texts[1]}"')


def test_all_bad_cells_are_counted() -> None:
    """The first 100 bad cells are listed, and how many there are in all."""
    errors = ErrorCollector()
    as_type(cells(*["2021-02-29", "x"] * 5000), "datetime", place, errors)
    assert errors.count == 10_000
    assert len(error_details(errors)) == 100


@given(st.lists(st.none() | st.text("0123456789-T:.Z+ eN", max_size=12), max_size=6))
def test_any_text_is_read_or_noted(texts: list[str | None]) -> None:
    """As any type, each text is read, missing or noted, one of them."""
    for type_name in ARROW_TYPES:
        errors = ErrorCollector()
        column = as_type(cells(*texts), type_name, place, errors)
        blank = sum(
            text is None or text.strip().lower() in ("", "na", "n/a", "nan", "null") for text in texts
        )
        assert len(column) == len(texts)
        assert type_name == "categorical" or column.null_count == errors.count + blank


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", " 2.5", None, "", "NA"], NUMBER),
        (["TRUE", "false", ""], BOOLEAN),
        (["2020-01-01", "2020-01-01T10:00+02:00", ""], DATETIME),
        (["2020-02-30", "2020-02-28"], TEXT),
        (["yes", "no"], TEXT),
        (["true", "1"], TEXT),
        (["", None, "null"], None),
    ],
)
def test_text_tells_its_type(texts: list[str | None], expected: pa.DataType | None) -> None:
    """All texts are of one type without a doubt, or they are text; missing ones tell nothing."""
    assert told_by_text(cells(*texts)) == expected


@pytest.mark.parametrize(
    ("texts", "noun", "rows"),
    [
        (["1", "x", " 2", None], "number", [1]),
        (["true", "false", "maybe", "", "true"], "boolean", [2]),
        (["2020-01-01", "2020-01-02", "2020-02-30"], "time", [2]),
    ],
)
def test_strays_are_the_few_among_values_of_a_type(texts: list[str], noun: str, rows: list[int]) -> None:
    """What keeps a column from being of a type is told only where most values are of it."""
    strays = find_strays(cells(*texts), cells(*texts))
    assert strays is not None
    assert (strays.noun, strays.rows.tolist()) == (noun, rows)
    few = cells("a", "b", *texts[:1])
    assert find_strays(few, few) is None
