from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.sources.casts import as_type
from service.datasets.sources.cell_texts import GAPS
from service.datasets.sources.columns import ARROW_TYPES, DATETIME, TEXT
from service.datasets.validation import ErrorCollector
from service.specs.reading import CellOptions
from tests.support.field_errors import error_details


def pointer_to_row(row: int) -> str:
    return f"#/columns/a/{row}"


def cells(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, TEXT)])


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
def test_text_is_converted_to_another_type(texts: list[Any], type_name: str, expected: list[Any]) -> None:
    """Text is trimmed and parsed; the words for a missing value become null."""
    errors = ErrorCollector()
    column = as_type(cells(*texts), type_name, CellOptions(), pointer_to_row, errors)
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
def test_values_are_converted_to_another_type(column: pa.Array, type_name: str, expected: list[Any]) -> None:
    """Values are converted by way of their text, in which an integer has no decimal point."""
    errors = ErrorCollector()
    assert (
        as_type(pa.chunked_array([column]), type_name, CellOptions(), pointer_to_row, errors).to_pylist()
        == expected
    )
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
def test_a_cell_that_can_not_be_converted_is_reported(texts: list[str], type_name: str) -> None:
    """A cell that can't be parsed has an error with its row and text, and becomes null."""
    errors = ErrorCollector()
    column = as_type(cells(*texts), type_name, CellOptions(), pointer_to_row, errors)
    assert [value is None for value in column.to_pylist()] == [False, True, False]
    ((pointer, detail),) = error_details(errors).items()
    assert pointer == "#/columns/a/1"
    assert detail.startswith(f'"{texts[1]}"')


@pytest.mark.parametrize(
    ("texts", "type_name", "option"),
    [
        (["31.01.2024", "15.02.2024"], "datetime", '"reading": {"dates":["%d.%m.%Y"]}'),
        (["1,5", "2,25"], "numeric", '"reading": {"decimal":","}'),
        (["$7", "$8"], "numeric", '"reading": {"units":["$"]}'),
    ],
)
def test_the_option_that_reads_a_column_is_named(texts: list[str], type_name: str, option: str) -> None:
    """If all cells have another format of their type, the error names the option for it."""
    errors = ErrorCollector()
    as_type(cells(*texts), type_name, CellOptions(), pointer_to_row, errors)
    (detail,) = error_details(errors).values()
    assert option in detail


def test_equal_errors_of_a_column_are_one_error() -> None:
    """Cells with the same error are one error at the first of them, with the number of the others."""
    errors = ErrorCollector()
    as_type(cells(*["2021-02-29", "x"] * 5000), "datetime", CellOptions(), pointer_to_row, errors)
    ((pointer, detail),) = error_details(errors).items()
    assert pointer == "#/columns/a/0"
    assert detail.startswith('"2021-02-29" can\'t be read as a time')
    assert detail.endswith("The same is wrong in 9,999 more rows: 1, 2, 3, 4, 5, ….")


@given(st.lists(st.none() | st.text("0123456789-T:.Z+ eN", max_size=12), max_size=6))
def test_any_text_is_converted_or_reported(texts: list[str | None]) -> None:
    """For every type, each text is converted, missing or an error."""
    for type_name in ARROW_TYPES:
        errors = ErrorCollector()
        column = as_type(cells(*texts), type_name, CellOptions(), pointer_to_row, errors)
        blank = sum(text is None or text.strip() in GAPS for text in texts)
        assert len(column) == len(texts)
        assert type_name == "categorical" or (column.null_count > blank) == (errors.count > 0)
