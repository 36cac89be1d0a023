"""Raw values: the cells of columns and the elements of tensors, before their transforms."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch

from service.datasets.dataset import TabularDataset, Tensor, TensorDataset
from service.datasets.prepare.encoding import TARGETS
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.rows import Rows, select_rows
from service.datasets.sources.columns import DATETIME, NUMBER, TEXT
from service.datasets.transforms.fitted import Values


def table_columns(names: Sequence[str], raw: RawRows) -> Iterator[tuple[str, Values]]:
    """Iterate over named columns of a table, or of the tensors [n] that stand for columns of numbers."""
    for name in names:
        if isinstance(raw.dataset, TabularDataset):
            yield name, values_of(select_rows(raw.dataset.table[name], raw.rows))
        else:  # see `read_numbers`
            yield name, samples_of(raw.dataset.inputs[name], raw.rows)


def values_of(column: pa.ChunkedArray) -> Values:
    """Convert a column to the values that transforms work on.

    Returns:
        An array of strings or times [n] with nulls, or float64 [n] with NaN for missing values.
    """
    if column.type in (TEXT, DATETIME):
        combined: pa.Array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
        return combined
    # Integers beyond 2**53 are rounded; the report on the data warns of them.
    return torch.tensor(column.cast(NUMBER, safe=False).to_numpy())


def tensor_values(dataset: TensorDataset, name: str, rows: Rows) -> torch.Tensor:
    """Copy samples of an input or of `targets`, [n, …] of the stored dtype."""
    tensor = dataset.targets if name == TARGETS else dataset.inputs[name]
    assert tensor is not None
    return samples_of(tensor, rows)


def samples_of(tensor: Tensor, rows: Rows) -> torch.Tensor:
    """Copy samples of a tensor, [n, …] of its dtype."""
    chosen = tensor[rows.start : rows.stop] if isinstance(rows, range) else tensor[rows.numpy()]
    return torch.tensor(chosen)
