from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from service.datasets.dataset import TabularDataset
from service.datasets.sources.columns import BOOLEAN, DATETIME, INTEGER, NUMBER, TEXT
from tests.support.field_errors import refusal
from tests.support.files import as_arrow, as_parquet, read

FORMS = {
    "parquet": as_parquet,
    "file": as_arrow,
    "stream": lambda table: as_arrow(table, stream=True),
    "rows": lambda table: as_arrow(table, rows_at_once=1),
}
form = pytest.mark.parametrize("form", FORMS)


@form
@pytest.mark.parametrize(
    ("column", "arrow_type", "expected"),
    [
        (pa.array([1, None, 2**62 + 1], pa.int64()), INTEGER, [1, None, 2**62 + 1]),
        (pa.array([1, None, 3], pa.uint64()), INTEGER, [1, None, 3]),
        (pa.array([1, None, 2**64 - 1], pa.uint64()), TEXT, ["1", None, str(2**64 - 1)]),
        (pa.array([1.5, float("nan"), None], pa.float32()), NUMBER, [1.5, None, None]),
        (pa.array(np.array([1, 2, 3], np.float16)), NUMBER, [1.0, 2.0, 3.0]),
        (pa.array([Decimal("1.25"), None, Decimal("-2")]), NUMBER, [1.25, None, -2.0]),
        (pa.nulls(3), NUMBER, [None, None, None]),
        (pa.array([True, None, False]), BOOLEAN, [True, None, False]),
        (pa.array(["NA", None, "x"]), TEXT, [None, None, "x"]),
        (pa.array(["7", None, "007"]), TEXT, ["7", None, "007"]),
        (pa.array(["2024-01-05", None, "NA"]), DATETIME, [datetime(2024, 1, 5), None, None]),
        (pa.array(["2024-01-05", None, "holiday"]), TEXT, ["2024-01-05", None, "holiday"]),
        (pa.array(["b", "a", None]).dictionary_encode(), TEXT, ["b", "a", None]),
        (
            pa.array([date(2020, 2, 29), None, date(1, 1, 1)]),
            DATETIME,
            [datetime(2020, 2, 29), None, datetime(1, 1, 1)],
        ),
        (
            pa.array([datetime(2020, 1, 1, 10, tzinfo=UTC), None, None], pa.timestamp("ms", "Europe/Berlin")),
            DATETIME,
            [datetime(2020, 1, 1, 10), None, None],
        ),
        (
            pa.array([1_999, None, None], pa.timestamp("ns")),
            DATETIME,
            [datetime(1970, 1, 1, 0, 0, 0, 1), None, None],
        ),
    ],
)
def test_columns_become_numbers_booleans_text_or_times(
    form: str, column: pa.Array, arrow_type: Any, expected: Any
) -> None:
    """Every common type is converted; NaN is missing, and nanoseconds are cut off."""
    table = read(FORMS[form](pa.table({"a": column})))
    assert table.schema.types == [arrow_type]
    assert table["a"].to_pylist() == expected


@form
def test_small_batches_are_combined(form: str) -> None:
    """Rows in batches or row groups of any size become large batches."""
    table = pa.table({"n": pa.array(np.arange(5000)), "t": ["x"] * 5000})
    found = read(FORMS[form](table))
    assert found["n"].to_pylist() == list(range(5000))
    assert found["n"].num_chunks == 1


@form
def test_columns_of_unsupported_types_are_refused(form: str) -> None:
    """Every nested, binary or time-of-day column has an error with its type."""
    table = pa.table(
        {
            "list": [[1]],
            "bytes": [b"x"],
            "fine": [1],
            "record": [{"a": 1}],
            "clock": pa.array([1], pa.time32("s")),
        }
    )
    found = refusal(lambda: read(FORMS[form](table)))
    assert list(found) == ["#/columns/list", "#/columns/bytes", "#/columns/record", "#/columns/clock"]
    assert "binary" in found["#/columns/bytes"]


@form
def test_values_out_of_range_are_refused(form: str) -> None:
    """Infinite numbers and times outside the years 1 to 9999 are errors at their cells."""
    table = pa.table({"x": [1.0, float("inf")], "when": pa.array([2**40, 0], pa.timestamp("s"))})
    found = refusal(lambda: read(FORMS[form](table)))
    assert set(found) == {"#/columns/when/0", "#/columns/x/1"}


@form
def test_declared_types_are_read(form: str) -> None:
    """Text can be declared as numbers or times, and numbers as categories."""
    table = pa.table({"zip": [1234, 99], "n": ["1", "2.5"], "when": ["2020-01-01", None]})
    found = read(FORMS[form](table), types={"zip": "categorical", "n": "numeric", "when": "datetime"})
    assert found.to_pydict() == {"zip": ["1234", "99"], "n": [1.0, 2.5], "when": [datetime(2020, 1, 1), None]}
    assert list(refusal(lambda: read(FORMS[form](table), types={"m": "numeric"}))) == ["?types"]


@form
def test_categories_of_pandas_stay_categories(form: str) -> None:
    """Categories are text, also if they are integers, and their order is kept with the table."""
    frame = pd.DataFrame(
        {
            "level": pd.Categorical(["lo", "hi", "mid"], ["lo", "mid", "hi"], ordered=True),
            "code": pd.Categorical([3, 1, 3]),
        }
    )
    table = read(FORMS[form](pa.Table.from_pandas(frame, preserve_index=False)))
    assert table.to_pydict() == {"level": ["lo", "hi", "mid"], "code": ["3", "1", "3"]}
    assert TabularDataset(table).categories == {"level": ["lo", "mid", "hi"]}


@form
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([3, 1, 3]), ["3", "1", "3"]),
        (pa.array([0.5, 2, 2], pa.float32()), ["0.5", "2", "2"]),
        (pa.array([Decimal("1.10"), Decimal("1.1"), None]), ["1.10", "1.10", None]),
    ],
    ids=["integers", "floats", "decimals"],
)
def test_dictionaries_of_numbers_are_categories(form: str, values: pa.Array, expected: Any) -> None:
    """They are text in every format, also if the program that wrote them was not pandas."""
    table = pa.table({"k": values.dictionary_encode()})
    assert read(FORMS[form](table)).to_pydict() == {"k": expected}
    numbers = read(FORMS[form](table), types={"k": "numeric"})["k"].to_pylist()
    assert numbers == [None if each is None else float(each) for each in expected]


@form
@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pa.table({"a": pa.array([], pa.int64())}), "no rows"),
        (pa.table({}), "0 columns"),
        (pa.table([[1], [2]], names=["a", "a"]), "both called `a`"),
        (pa.table([[1]], names=[""]), "no name"),
        (pa.table({f"c{n}": [1] for n in range(10_001)}), "10001 columns"),
    ],
    ids=["no rows", "no columns", "twice", "unnamed", "many"],
)
def test_invalid_tables_are_refused(form: str, table: pa.Table, words: str) -> None:
    """A table must have rows, and columns with different names."""
    assert words in refusal(lambda: read(FORMS[form](table)))["#"]


@form
@pytest.mark.parametrize("arrow_type", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)])
def test_vectors_are_refused_with_the_code_that_sends_them(form: str, arrow_type: pa.DataType) -> None:
    """A column of vectors is refused; the error shows how to send them, or to leave the column out."""
    table = pa.table({"v": pa.array([[1, 2], [3, 4]], arrow_type), "y": [0, 1]})
    detail = refusal(lambda: read(FORMS[form](table)))["#/columns/v"]
    assert "inputs=numpy.stack(frame['v'])" in detail
    assert read(FORMS[form](table), ignore=["v"]).column_names == ["y"]
