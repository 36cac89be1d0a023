import csv
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.csv_reader import read_csv
from service.datasets.dataset import TabularDataset, TensorDataset, load_dataset
from service.datasets.json_reader import read_json

ROWS = 3
NAMES = st.text("abcxyz_ä", min_size=1, max_size=6)
COLUMNS = st.one_of(
    st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=ROWS, max_size=ROWS),
    st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
    # At least one letter, so that a CSV can't take the text for a number, a boolean or a gap.
    st.lists(st.none() | st.from_regex(r'\Atext[ ,;"\n\w]{0,5}\Z'), min_size=ROWS, max_size=ROWS).filter(any),
)
# Two columns at least: in a CSV of one, a row without a value is an empty line, which is no row.
TABLES = st.dictionaries(NAMES, COLUMNS, min_size=2, max_size=4)


def as_rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def as_csv(columns: dict[str, list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


@given(TABLES)
def test_equal_tables_have_equal_digests_however_sent(columns: dict[str, list[Any]]) -> None:
    """Columns, rows and CSV with the same content are the same dataset."""
    digest = read_json({"columns": columns}).digest()
    assert read_json({"rows": as_rows(columns)}).digest() == digest
    assert read_csv(as_csv(columns)).digest() == digest


@given(TABLES)
def test_tables_survive_storage(columns: dict[str, list[Any]]) -> None:
    """What is stored is read back with the same content and digest."""
    dataset = read_json({"columns": columns})
    loaded = load_dataset(dataset.to_bytes())
    assert isinstance(loaded, TabularDataset)
    assert loaded.table.to_pydict() == columns
    assert loaded.digest() == dataset.digest()


def test_chunks_and_hidden_values_do_not_change_a_digest() -> None:
    """Neither the chunks of a column nor what lies under a null is content."""
    whole = pa.table({"a": pa.array([1.0, None, 3.0])})
    hidden = pa.Array.from_buffers(
        pa.float64(), 3, [pa.py_buffer(bytes([0b101])), pa.py_buffer(np.array([1.0, 7.0, 3.0]))]
    )
    chunked = pa.table({"a": pa.chunked_array([hidden[:1], hidden[1:]])})
    assert TabularDataset(whole).digest() == TabularDataset(chunked).digest()


@pytest.mark.parametrize(
    "other",
    [
        {"b": [1.0, 2.0], "a": [3.0, 4.0]},
        {"a": [1.0, 2.0], "b": [3.0, None]},
        {"a": [1.0, 2.0], "b": [3.0, 5.0]},
        {"a": [1.0, 2.0], "c": [3.0, 4.0]},
        {"a": ["1", "2"], "b": [3.0, 4.0]},
        {"a": [1.0], "b": [3.0]},
    ],
)
def test_other_content_has_another_digest(other: dict[str, list[Any]]) -> None:
    """Order, names, types, gaps and values all count."""
    digest = read_json({"columns": {"a": [1.0, 2.0], "b": [3.0, 4.0]}}).digest()
    assert read_json({"columns": other}).digest() != digest


def test_texts_are_told_apart_where_they_end() -> None:
    """Moving a letter from one cell to the next is other content."""
    assert (
        read_json({"columns": {"a": ["ab", "c"]}}).digest()
        != read_json({"columns": {"a": ["a", "bc"]}}).digest()
    )


def test_tensors_survive_storage_in_order() -> None:
    """Named tensors come back in the order they were sent in, with types, values and digest."""
    sent = {f"z{number}" if number % 2 else f"a.{number}": [[number, 1]] for number in range(12)}
    dataset = read_json({"inputs": {**sent, "float": [[0.1]], "flag": [[True]]}, "targets": [3]})
    loaded = load_dataset(dataset.to_bytes())
    assert isinstance(loaded, TensorDataset)
    assert list(loaded.inputs) == [*sent, "float", "flag"]
    assert loaded.inputs["float"].tolist() == [[0.1]]
    assert loaded.targets is not None
    assert loaded.targets.dtype == np.int64
    assert loaded.digest() == dataset.digest()


def test_unlabelled_tensors_differ_from_labelled_ones() -> None:
    """Targets are content, and may be absent."""
    unlabelled = read_json({"inputs": [[1.0], [2.0]]})
    assert load_dataset(unlabelled.to_bytes()).digest() == unlabelled.digest()
    assert unlabelled.digest() != read_json({"inputs": [[1.0], [2.0]], "targets": [0, 1]}).digest()
    assert unlabelled.rows == 2
