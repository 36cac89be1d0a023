"""Datasets as files that can be uploaded again: CSV and Parquet of tables, `.npz` of tensors."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NoReturn
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib import format as npy
from pyarrow import parquet

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.formulas import name_without_formula, without_formulas
from service.datasets.sources.arrow import TEXT_COLUMNS
from service.datasets.sources.columns import BOOLEAN, DATETIME, INTEGER, NUMBER, TEXT
from service.datasets.sources.tensors import SINGLE_INPUT
from service.errors import FieldError, InvalidRequest
from service.specs.upload import DownloadFormat

_BATCH_ROWS = 65_536
_TENSORS: Final = "npz"
# Text that no reader takes for something else: it starts with a letter and has no special characters. Words
# for missing values and booleans have at most five characters, times contain digits.
_PLAIN_TEXT = r"^[A-Za-z][A-Za-z_ ]{4,}[A-Za-z]$"
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""A name that no reader takes for something else, such as a number, a comment or another delimiter."""


def write_file(dataset: Dataset, path: Path, format_name: DownloadFormat, keep_formulas: bool) -> None:
    """Write a dataset as a file.

    Args:
        dataset: The dataset.
        path: Path of the new file.
        format_name: The format.
        keep_formulas: Whether text in CSV that spreadsheets would run as a formula stays as it is.

    Raises:
        InvalidRequest: The dataset can't be written in this format.
    """
    if isinstance(dataset, TensorDataset):
        if format_name != _TENSORS:
            _refuse("The dataset has tensors; use `format=npz`.")
        _write_npz(dataset, path)
    elif format_name == _TENSORS:
        _refuse("The dataset is a table; use `format=csv` or `format=parquet`.")
    elif format_name == "parquet":
        texts = [field.name for field in dataset.table.schema if field.type == TEXT]
        table = dataset.table.replace_schema_metadata({TEXT_COLUMNS: json.dumps(texts)})
        parquet.write_table(table, path)
    else:
        _write_csv(dataset, path, keep_formulas)


def _refuse(detail: str) -> NoReturn:
    raise InvalidRequest(detail, [FieldError("?format", detail)])


def _write_npz(dataset: TensorDataset, path: Path) -> None:
    names = {SINGLE_INPUT: "inputs"} if [*dataset.inputs] == [SINGLE_INPUT] else {}
    arrays = {names.get(name, f"inputs.{name}"): tensor for name, tensor in dataset.inputs.items()}
    if dataset.targets is not None:
        arrays["targets"] = dataset.targets
    with ZipFile(path, "w") as archive:  # numpy.savez has arguments that an input may be called like
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, np.asarray(array), allow_pickle=False)


def _write_csv(dataset: TabularDataset, path: Path, keep_formulas: bool) -> None:
    """Write rows as CSV. Text is in quotes unless it can't be taken for anything else."""
    table, names = dataset.table, dataset.table.column_names
    # A line without any character is no row.
    missing = "" if len(names) > 1 else "NA"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(
            ",".join(_quoted(name if keep_formulas else name_without_formula(name)) for name in names) + "\n"
        )
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            columns = [_as_cells(column, keep_formulas).fill_null(missing) for column in batch.columns]
            separator = pa.scalar(",", TEXT)
            lines = pc.binary_join_element_wise(*columns, separator) if len(columns) > 1 else columns[0]
            file.writelines(f"{line}\n" for line in lines.to_pylist())


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return name if _PLAIN_NAME.fullmatch(name) else f'"{doubled}"'


def _as_cells(column: pa.Array, keep_formulas: bool) -> pa.Array:
    """Format the values of a column as cells, large_string [rows] with nulls."""
    return _FORMATTERS[column.type](column, keep_formulas)


def _format_numbers(column: pa.Array, keep_formulas: bool) -> pa.Array:
    texts = column.cast(TEXT)  # the shortest decimal number that is read as the same double
    return pc.replace_substring_regex(texts, r"^(-?\d+)$", r"\1.0")  # not an integer


def _format_integers(column: pa.Array, keep_formulas: bool) -> pa.Array:
    return column.cast(TEXT)


def _format_booleans(column: pa.Array, keep_formulas: bool) -> pa.Array:
    return column.cast(TEXT)


def _format_times(column: pa.Array, keep_formulas: bool) -> pa.Array:
    texts = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ").cast(TEXT)
    return pc.replace_substring_regex(texts, r"\.000000Z$", "Z")


def _format_texts(column: pa.Array, keep_formulas: bool) -> pa.Array:
    texts = column if keep_formulas else without_formulas(column)
    doubled, empty = pc.replace_substring(texts, '"', '""'), pa.scalar("", TEXT)
    quoted = pc.binary_join_element_wise(empty, doubled, empty, pa.scalar('"', TEXT))
    return pc.if_else(pc.match_substring_regex(texts, _PLAIN_TEXT), texts, quoted)


_FORMATTERS: Mapping[pa.DataType, Callable[[pa.Array, bool], pa.Array]] = {
    INTEGER: _format_integers,
    NUMBER: _format_numbers,
    BOOLEAN: _format_booleans,
    DATETIME: _format_times,
    TEXT: _format_texts,
}
