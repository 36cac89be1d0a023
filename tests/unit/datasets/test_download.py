"""Datasets as files: an upload of the file has equal content."""

import io
import re
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.download import write_file
from service.datasets.sources.columns import BOOLEAN, DATETIME, NUMBER, TEXT
from service.specs.upload import DownloadFormat
from tests.support.field_errors import refusal
from tests.support.files import read

TEXTS = [
    "00012",
    "NA",
    "",
    "null",
    "1e5",
    "x",
    "a,b",
    'q"u\no',
    " lead",
    "trail ",
    "=1+1",
    "-b",
    "é漢",
    "Dream",
]


def written(dataset: Dataset, format_name: DownloadFormat, keep_formulas: bool = True) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write_file(dataset, path, format_name, keep_formulas)
        return path.read_bytes()


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a table with a column of each type; the first column has no missing values."""
    rows = draw(st.integers(1, 6))

    def column(values: st.SearchStrategy[Any], arrow_type: pa.DataType) -> pa.Array:
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        cells[draw(st.integers(0, rows - 1))] = draw(values)
        return pa.array(cells, arrow_type)

    times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))
    # Surrogates are no text; readers of CSV files don't keep NUL.
    texts = st.sampled_from(TEXTS) | st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    )
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return pa.table(
        {
            "first": pa.array(draw(st.lists(numbers, min_size=rows, max_size=rows)), NUMBER),
            'n,"m': column(numbers, NUMBER),
            "flag": column(st.booleans(), BOOLEAN),
            "when": column(times, DATETIME),
            "text": column(texts, TEXT),
        }
    )


@settings(deadline=None)
@given(tables())
def test_an_upload_of_a_table_has_equal_content(table: pa.Table) -> None:
    """Every value of every type is the same in CSV and Parquet, missing ones and texts like numbers too."""
    dataset = TabularDataset(table)
    assert TabularDataset(read(written(dataset, "parquet"))).digest == dataset.digest
    # Texts that all look like dates or booleans are not text without a declared type.
    again = read(written(dataset, "csv"), "csv", types={"text": "categorical"})
    assert TabularDataset(again).digest == dataset.digest


def test_text_that_looks_like_numbers_stays_text_in_csv() -> None:
    """Numbers and words for missing values in a text column need no declared type."""
    columns = {"zip": pa.array(["00012", None, "450"], TEXT), "word": pa.array(["NA", "", None], TEXT)}
    dataset = TabularDataset(pa.table({**columns, "n": pa.array([1.0, None, -0.0], NUMBER)}))
    assert TabularDataset(read(written(dataset, "csv"))).digest == dataset.digest


@pytest.mark.parametrize("values", [[1.0, None], [None, 2.0]])
def test_a_missing_value_in_the_only_column_is_a_row(values: list[float | None]) -> None:
    """A line without any character is no row, so that the value is written as a word."""
    assert written(TabularDataset(pa.table({"n": pa.array(values, NUMBER)})), "csv").count(b"NA") == 1


def test_pandas_reads_the_files() -> None:
    """Pandas reads the same values from CSV and Parquet."""
    table = pa.table({"n": pa.array([1.5, None], NUMBER), "t": pa.array(["a,b", 'q"'], TEXT)})
    dataset, expected = TabularDataset(table), table.to_pandas()
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(written(dataset, "csv"))), expected)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(written(dataset, "parquet"))), expected)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_escaped_in_csv(text: str) -> None:
    """Text and names that a spreadsheet would run get an apostrophe, numbers never, nothing with `keep`."""
    dataset = TabularDataset(
        pa.table({text: pa.array([text, "x"], TEXT), "n": pa.array([-1.0, 2.0], NUMBER)})
    )
    content = written(dataset, "csv", keep_formulas=False)
    assert content.startswith(f'"\'{text}",n'.encode())
    assert read(content).to_pydict() == {text: [f"'{text}", "x"], "n": [-1.0, 2.0]}
    assert read(written(dataset, "csv")).to_pydict() == {text: [text, "x"], "n": [-1.0, 2.0]}


NAMES = ["a", " a", "a ", "a\nb", "\r\n", "\t", '"', 'a"b', '""', "=x", "'=x", "''+", "'", "-1", "1", "sep=a"]
PARTS = [*NAMES, *"=+-@';,|#{[ \t\n\r\"", "PAR1", "\ufeff", "\uff1d", "\u00a0", "NA", "index", "é漢"]


@settings(deadline=None)
@given(
    st.lists(
        (
            st.sampled_from(NAMES)
            | st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("".join)
            | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    st.booleans(),
    st.booleans(),
)
def test_every_column_name_survives_a_csv(names: list[str], keep_formulas: bool, has_texts: bool) -> None:
    """Spaces, line feeds, quotes, delimiters and starts of formulas in names are kept by an upload."""
    cells = pa.array(["a b", "c"], TEXT) if has_texts else pa.array([1.5, 2.0], NUMBER)
    dataset = TabularDataset(pa.table(dict.fromkeys(names, cells)))
    again = read(written(dataset, "csv", keep_formulas=False))
    assert again.column_names == names
    assert TabularDataset(again).digest == dataset.digest
    if not any(map(re.compile("'+[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]").match, names)):
        assert read(written(dataset, "csv", keep_formulas)).column_names == names


@pytest.mark.parametrize("names", [["input"], ["a", "b"], ["file", "self"]])
def test_an_upload_of_tensors_has_equal_content(names: list[str]) -> None:
    """Tensors are written as a .npz archive with the names that uploads have."""
    inputs = {name: np.arange(6, dtype=np.float32).reshape(3, 2) for name in names}
    for targets in (None, np.array([0, 1, 2])):
        dataset = TensorDataset(inputs, targets)
        again = read(written(dataset, "npz"))
        assert isinstance(again, TensorDataset)
        assert again.digest == dataset.digest


def test_a_format_of_the_other_type_is_refused() -> None:
    """Tables and tensors have their own formats; the error names them."""
    tensors = TensorDataset({"input": np.ones((2, 1))})
    assert "`format=npz`" in refusal(lambda: written(tensors, "csv"))["?format"]
    table = TabularDataset(pa.table({"n": pa.array([1.0], NUMBER)}))
    assert "`format=csv`" in refusal(lambda: written(table, "npz"))["?format"]
