"""The column of a split rule, as numbers to divide rows by."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.rows import Rows, select_rows
from service.datasets.sources.casts import cast
from service.datasets.sources.columns import DATETIME, NUMBER, TEXT, unknown_column
from service.datasets.validation import Cells, ErrorCollector, quote_value
from service.errors import pointer_to
from service.specs.reading import CellOptions
from service.specs.split import SPLIT_NAMES, Split


def rule_key(
    split: Split,
    dataset: Dataset,
    options: CellOptions,
    kept: Rows,
    errors: ErrorCollector,
    pointer: str = "#/data/split",
) -> torch.Tensor | None:
    """Compute the `key` of `split_rows`, [n].

    Args:
        split: The declared split.
        dataset: The dataset to divide.
        options: Formats of times in text.
        kept: Numbers of the n rows to divide.
        errors: Receives an error if the rule cannot divide by its column.
        pointer: Location of `split` in the request.

    Returns:
        The key; None without a rule, and after errors.
    """
    rule = split.rule()
    if rule is None:
        return None
    rule_name, name = rule
    rule_pointer = pointer_to(pointer, rule_name)
    if not isinstance(dataset, TabularDataset):
        errors.add(rule_pointer, f"Tensor data has no columns; omit `{rule_name}`.")
        return None
    names = dataset.table.column_names
    if name not in names:
        errors.add(rule_pointer, unknown_column(name, names))
        return None
    column = select_rows(dataset.table[name], kept)
    cells = Cells(name, rule_pointer, errors, kept)
    missing = torch.from_numpy(column.is_null().to_numpy().copy())  # bool [n]
    cells.add_errors(missing, lambda _: f"is missing, and `{rule_name}` needs a value in every row")
    before = errors.count
    key = _KEYS[rule_name](column, options, cells)
    return None if missing.any() or errors.count > before else key


def codes(column: pa.ChunkedArray, options: CellOptions, cells: Cells | None = None) -> torch.Tensor:
    """Number the distinct values in ascending order: equal numbers for equal values."""
    values = pc.unique(column.drop_null())
    ordered = values.take(pc.sort_indices(values)) if len(values) else values
    return _index_in(column, ordered)


def times(column: pa.ChunkedArray, options: CellOptions, cells: Cells) -> torch.Tensor:
    """Convert to sortable numbers: datetimes to microseconds since 1970; text is parsed as datetimes."""
    if column.type == TEXT:
        column = cast(column, "datetime", options, cells)
    if column.type == DATETIME:
        column = column.cast(pa.int64())
    filled = column.cast(NUMBER) if column.type != pa.int64() else column
    return torch.tensor(filled.fill_null(0).to_numpy())


def _split_indices(column: pa.ChunkedArray, options: CellOptions, cells: Cells) -> torch.Tensor:
    """Convert names of splits to their indices in `SPLIT_NAMES`; report other values."""
    text = column.cast(TEXT)
    indices = _index_in(text, pa.array(SPLIT_NAMES, TEXT))
    unknown = (indices < 0) & torch.from_numpy(column.is_valid().to_numpy().copy())
    allowed = ", ".join(SPLIT_NAMES)
    cells.add_errors(
        unknown,
        lambda position: f"is {quote_value(text[position].as_py())}; the allowed values are {allowed}",
    )
    return indices


def _index_in(column: pa.ChunkedArray, values: pa.Array) -> torch.Tensor:
    """Look up each cell in `values`: int64 [n], −1 if it is not there."""
    index = pc.index_in(column, value_set=values).fill_null(-1)
    return torch.from_numpy(index.to_numpy().astype(np.int64))


_KEYS: Mapping[str, Callable[[pa.ChunkedArray, CellOptions, Cells], torch.Tensor]] = {
    "stratify": codes,
    "group": codes,
    "time": times,
    "column": _split_indices,
}
