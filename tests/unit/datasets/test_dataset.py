import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset, load_dataset
from service.datasets.sources.json import read_json
from tests.support.files import as_arrow, as_npz, as_parquet, read

ROWS = 3
NAMES = st.text("abcxyz_ä", min_size=1, max_size=6)
COLUMNS = st.one_of(
    st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=ROWS, max_size=ROWS),
    st.lists(st.booleans(), min_size=ROWS, max_size=ROWS),
    # At least one letter, so that a CSV can't read the text as a number, a boolean or a missing value.
    st.lists(st.none() | st.from_regex(r'\Atext[ ,;"\n\w]{0,5}\Z'), min_size=ROWS, max_size=ROWS).filter(any),
)
# At least two columns: in a CSV of one, a row without a value is an empty line, which is skipped.
TABLES = st.dictionaries(NAMES, COLUMNS, min_size=2, max_size=4)


def as_rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def as_csv(columns: dict[str, list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def store_and_load(folder: Path, dataset: Dataset) -> Dataset:
    """Write a dataset to a file and map it."""
    path = folder / "dataset"
    path.write_bytes(dataset.to_bytes())
    return load_dataset(path)


@given(TABLES)
def test_equal_tables_have_equal_digests_however_sent(columns: dict[str, list[Any]]) -> None:
    """Columns, rows, CSV, Parquet and Arrow with the same content have the same digest."""
    dataset = read_json({"columns": columns})
    assert isinstance(dataset, TabularDataset)
    assert read_json({"rows": as_rows(columns)}).digest == dataset.digest
    for content in (
        as_csv(columns),
        as_parquet(dataset.table, row_group_size=2),
        as_arrow(dataset.table, rows_at_once=1),
        as_arrow(dataset.table, stream=True),
    ):
        assert TabularDataset(read(content)).digest == dataset.digest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLES)
def test_tables_survive_storage(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    """A stored table is read back with the same content and digest."""
    dataset = read_json({"columns": columns})
    loaded = store_and_load(tmp_path, dataset)
    assert isinstance(loaded, TabularDataset)
    assert loaded.table.to_pydict() == columns
    assert loaded.digest == dataset.digest


def test_chunks_and_hidden_values_do_not_change_a_digest() -> None:
    """The chunks of a column and the values below nulls do not change the digest."""
    whole = pa.table({"a": pa.array([1.0, None, 3.0])})
    hidden = pa.Array.from_buffers(
        pa.float64(), 3, [pa.py_buffer(bytes([0b101])), pa.py_buffer(np.array([1.0, 7.0, 3.0]))]
    )
    chunked = pa.table({"a": pa.chunked_array([hidden[:1], hidden[1:]])})
    assert TabularDataset(whole).digest == TabularDataset(chunked).digest


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
    """Column order, names, types, missing values and values change the digest."""
    digest = read_json({"columns": {"a": [1.0, 2.0], "b": [3.0, 4.0]}}).digest
    assert read_json({"columns": other}).digest != digest


def test_the_boundaries_of_texts_change_a_digest() -> None:
    """Moving a letter from one cell to the next changes the digest."""
    assert (
        read_json({"columns": {"a": ["ab", "c"]}}).digest != read_json({"columns": {"a": ["a", "bc"]}}).digest
    )


def test_tensors_survive_storage_in_order(tmp_path: Path) -> None:
    """Named tensors are read back in the order in which they were sent, with types, values and digest."""
    sent = {f"z{number}" if number % 2 else f"a.{number}": [[number, 1]] for number in range(12)}
    dataset = read_json({"inputs": {**sent, "float": [[0.1]], "flag": [[True]]}, "targets": [3]})
    loaded = store_and_load(tmp_path, dataset)
    assert isinstance(loaded, TensorDataset)
    assert list(loaded.inputs) == [*sent, "float", "flag"]
    assert loaded.inputs["float"].tolist() == [[0.1]]
    assert loaded.targets is not None
    assert loaded.targets.dtype == np.int64
    assert loaded.digest == dataset.digest


def test_unlabelled_tensors_differ_from_labelled_ones(tmp_path: Path) -> None:
    """Targets may be absent, and are part of the digest."""
    unlabelled = read_json({"inputs": [[1.0], [2.0]]})
    assert store_and_load(tmp_path, unlabelled).digest == unlabelled.digest
    assert unlabelled.digest != read_json({"inputs": [[1.0], [2.0]], "targets": [0, 1]}).digest
    assert unlabelled.rows == 2


DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_keep_their_type_and_are_mapped_in_place(tmp_path: Path, dtype: str) -> None:
    """Every type is stored as sent, mapped with alignment, and readable by the safetensors library."""
    sent = {"inputs.odd": np.ones((3, 5), np.uint8), "inputs.x": np.arange(6).reshape(3, 2).astype(dtype)}
    dataset = read(as_npz({**sent, "targets": np.arange(3)}))
    loaded = store_and_load(tmp_path, dataset)
    assert isinstance(loaded, TensorDataset)
    tensor = loaded.inputs["x"]
    assert tensor.dtype == dtype
    assert tensor.tolist() == sent["inputs.x"].tolist()
    assert tensor.base is not None
    assert tensor.flags.aligned
    assert not tensor.flags.writeable
    stored = safetensors.numpy.load_file(tmp_path / "dataset")
    assert stored["inputs.1.x"].tolist() == tensor.tolist()


def test_times_survive_storage(tmp_path: Path) -> None:
    """Columns of times keep their values, missing values and digest."""
    table = read(b"when,n\n2020-01-01T00:00:00.25Z,1\n,2\n")
    loaded = store_and_load(tmp_path, TabularDataset(table))
    assert isinstance(loaded, TabularDataset)
    assert loaded.table.to_pydict() == table.to_pydict()
    assert loaded.digest == TabularDataset(table).digest
