"""The index of a data frame, in CSV and Parquet alike."""

import io
from typing import Any

import pandas as pd
import pytest

from tests.support.field_errors import refusal
from tests.support.tables import read_table


def as_csv(frame: pd.DataFrame) -> bytes:
    return str(frame.to_csv()).encode()


def as_parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def frame(index: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"a": [1.5, 2.5, 3.5], "y": [0, 1, 0]}, index=index)


form = pytest.mark.parametrize("write", [as_csv, as_parquet])


@form
@pytest.mark.parametrize("index", [[5, 6, 9], [2, 0, 1]])
def test_row_numbers_are_left_out_with_a_warning(write: Any, index: list[int]) -> None:
    """By default an index of row numbers is no column; `keep` reads it as the first one."""
    content = write(frame(index))
    table = read_table(content)
    assert list(table.columns) == ["a", "y"]
    assert "`?index=keep`" in table.warnings[0]
    kept = read_table(content, index="keep")
    assert list(kept.columns) == ["index", "a", "y"]
    assert kept.columns["index"] == index
    assert not kept.warnings
    dropped = read_table(content, index="drop")
    assert dropped.columns == table.columns
    assert not dropped.warnings


@form
@pytest.mark.parametrize("index", [["x", "y", "z"], [1, 1, 2]])
def test_another_index_is_kept_with_a_warning(write: Any, index: list[Any]) -> None:
    """An index that is not of row numbers is read as `index`; `drop` leaves it out."""
    table = read_table(write(frame(index)))
    assert table.columns == {"index": index, "a": [1.5, 2.5, 3.5], "y": [0, 1, 0]}
    assert "`?index=drop`" in table.warnings[0]
    assert list(read_table(write(frame(index)), index="drop").columns) == ["a", "y"]


@form
def test_an_index_with_a_name_is_a_column(write: Any) -> None:
    """An index that has a name is a column like any other."""
    table = read_table(write(frame([0, 1, 2]).rename_axis("id")))
    assert set(table.columns) == {"id", "a", "y"}
    assert not table.warnings


@form
def test_a_model_reads_the_index_only_if_it_has_such_a_feature(write: Any) -> None:
    """For a model the index is a column that other columns may hide, never a reason to refuse the file."""
    content = write(frame([7, 8, 9]))
    assert read_table(content, selected=["a"]).columns["a"] == [1.5, 2.5, 3.5]
    assert read_table(content, selected=["a", "index"]).columns["index"] == [7, 8, 9]


def test_a_saved_index_is_left_out() -> None:
    """Pandas calls an index that it read from a CSV file `Unnamed: 0`."""
    content = "Unnamed: 0,a\n0,1\n1,2\n"
    assert list(read_table(content).columns) == ["a"]
    assert list(read_table("Unnamed: 0,a\nx,1\ny,2\n").columns) == ["Unnamed: 0", "a"]
    assert list(read_table(content, selected=["Unnamed: 0"]).columns) == ["Unnamed: 0", "a"]


def test_the_name_of_the_index_is_free() -> None:
    """The index does not take the name of another column."""
    assert list(read_table(",index\n4,1\n", index="keep").columns) == ["index_1", "index"]


def test_a_file_without_a_header_has_no_index() -> None:
    """`index` needs names; the error says how to leave out the first column."""
    found = refusal(lambda: read_table("1,2\n", header=False, index="drop"))
    assert "`?ignore=column_1`" in found["?index"]
    assert read_table("1,2\n", header=False, ignore=["column_1"]).columns == {"column_2": [2.0]}
