"""Columns as they were sent, from CSV, Parquet and Arrow files and from stored tables."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from service.datasets.sources.as_sent import columns_of_file, columns_of_table
from service.specs.upload import ReadOptions
from tests.support.field_errors import refusal

CSV = "code,n\n007,9007199254740993\n8,-1\n,+5\nNA,1e3\n"


@pytest.mark.parametrize("numeric", [[], ["code", "n"]])
def test_cells_of_csv(numeric: list[str], tmp_path: Path) -> None:
    """A cell is the text of the file, or, in numeric columns, an integer if it is written like one."""
    path = tmp_path / "body"
    path.write_text(CSV)
    found = columns_of_file(path, "csv", ReadOptions(), ["code", "n"], numeric)
    assert found["code"] == (["007", 8, None, "NA"] if numeric else ["007", "8", None, "NA"])
    assert found["n"] == ([2**53 + 1, -1, "+5", "1e3"] if numeric else [str(2**53 + 1), "-1", "+5", "1e3"])


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_values_of_arrow(form: Any, tmp_path: Path) -> None:
    """Values have the types of the file: 64 bits of integers, text, whole numbers as integers."""
    table = pa.table(
        {
            "integer": pa.array([2**63 - 1, None], pa.int64()),
            "text": ["007", "8"],
            "real": [1.0, 2.5],
            "decimal": [Decimal("1.00"), Decimal("2.50")],
            "day": [date(2026, 11, 30), None],
            "moment": pa.array([1_999, 2_000], pa.timestamp("ns")),
            "long": [Decimal(10**30), None],
            "other": [1, 2],
        }
    )
    path = tmp_path / "body"
    if form == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    names = [name for name in table.column_names if name != "other"]
    assert columns_of_file(path, form, ReadOptions(), names, []) == {
        "integer": [2**63 - 1, None],
        "text": ["007", "8"],
        "real": [1, 2.5],
        "decimal": [1, 2.5],
        "day": ["2026-11-30T00:00:00.000000Z", None],
        "moment": ["1970-01-01T00:00:00.000001999Z", "1970-01-01T00:00:00.000002Z"],
        "long": [str(10**30), None],
    }


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.date32()])
def test_times_that_have_no_text_are_refused(kind: pa.DataType) -> None:
    """A time outside the years 1 to 9999 is an error at its cell."""
    table = pa.table({"when": pa.array([0, 2**31 - 1 if kind == pa.date32() else 2**40], kind)})
    assert list(refusal(lambda: columns_of_table(table, ["when"]))) == ["#/columns/when/1"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_index_is_an_id_where_it_was_one(form: Any, tmp_path: Path) -> None:
    """The unnamed index is read by its name; names that the file does not have are left out."""
    path = tmp_path / "body"
    if form == "csv":
        path.write_text(",x\n007,1\n8,2\n")
    else:
        parquet.write_table(pa.table({"__index_level_0__": ["007", "8"], "x": [1, 2]}), path)
    assert columns_of_file(path, form, ReadOptions(), ["index", "other"], []) == {"index": ["007", "8"]}


def test_values_of_a_table() -> None:
    """Of a stored table, whole numbers are integers, unless they are too large to be exact."""
    table = pa.table({"n": [1.0, 1e300, None], "b": [True, False, None]})
    assert columns_of_table(table, ["n", "b"]) == {"n": [1, 1e300, None], "b": [True, False, None]}
