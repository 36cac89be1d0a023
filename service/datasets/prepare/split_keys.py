"""What a split's rule divides by: the values of a column as numbers."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.rows import Rows, rows_of
from service.datasets.sources.casts import cast
from service.datasets.sources.columns import DATETIME, NUMBER, TEXT
from service.datasets.validation import Cells, ErrorCollector, shown
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.split import SIDES, Split


def rule_key(
    split: Split, dataset: Dataset, kept: Rows, errors: ErrorCollector, pointer: str = "#/data/split"
) -> torch.Tensor | None:
    """The `key` that `split_rows` takes, [n]; None without a rule, and where errors were noted.

    Args:
        split: as declared.
        dataset: what is split.
        kept: the n rows to divide.
        errors: where a column that the rule can't divide by is noted.
        pointer: the place of `split` in the request.
    """
    rule = split.rule()
    if rule is None:
        return None
    name, place = rule[1], pointer_to(pointer, rule[0])
    if not isinstance(dataset, TabularDataset):
        errors.add(place, f"Tensor data has no columns to divide by: leave `{rule[0]}` out.")
        return None
    known = dataset.table.column_names
    if name not in known:
        hint = did_you_mean(name, known) or f". The columns are {', '.join(known)}."
        errors.add(place, f"There is no column `{name}`{hint}")
        return None
    column = rows_of(dataset.table[name], kept)
    cells = Cells(name, place, errors, kept)
    missing = torch.from_numpy(column.is_null().to_numpy().copy())
    cells.note(missing, lambda _: f"is missing, and `{rule[0]}` needs its value")
    before = errors.count
    key = _KEYS[rule[0]](column, cells)
    return None if missing.any() or errors.count > before else key


def _codes(column: pa.ChunkedArray, cells: Cells) -> torch.Tensor:
    """Equal numbers for equal values, in the values' order."""
    values = pc.unique(column.drop_null())
    ordered = values.take(pc.sort_indices(values)) if len(values) else values
    return _index(column, ordered)


def _times(column: pa.ChunkedArray, cells: Cells) -> torch.Tensor:
    """Numbers, or microseconds since 1970; text is read as times."""
    if column.type == TEXT:
        column = cast(column, "datetime", cells)
    if column.type == DATETIME:
        column = column.cast(pa.int64())
    filled = column.cast(NUMBER) if column.type != pa.int64() else column
    return torch.tensor(filled.fill_null(0).to_numpy())


def _sides(column: pa.ChunkedArray, cells: Cells) -> torch.Tensor:
    """The index of each side in `SIDES`; other values are noted."""
    text = column.cast(TEXT)
    indices = _index(text, pa.array(SIDES, TEXT))
    wrong = (indices < 0) & torch.from_numpy(column.is_valid().to_numpy().copy())
    cells.note(wrong, lambda position: f"is {shown(text[position].as_py())}: it says {', '.join(SIDES)}")
    return indices


def _index(column: pa.ChunkedArray, values: pa.Array) -> torch.Tensor:
    index = pc.index_in(column, value_set=values).fill_null(-1)
    return torch.from_numpy(index.to_numpy().astype(np.int64))


_KEYS: Mapping[str, Callable[[pa.ChunkedArray, Cells], torch.Tensor]] = {
    "stratify": _codes,
    "group": _codes,
    "time": _times,
    "column": _sides,
}
