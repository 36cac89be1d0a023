"""Weights of rows in the loss."""

import torch

from service.datasets.dataset import Dataset, TensorDataset
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.raw_values import samples_of, table_columns
from service.datasets.transforms.fitted import numbers


def encode_weights(name: str, raw: RawRows) -> torch.Tensor:
    """Encode the weights of rows; report those that are missing, negative or infinite.

    Args:
        name: Column of numbers or booleans; `weights` for tensors.
        raw: The n rows.

    Returns:
        float32 [n].
    """
    if isinstance(raw.dataset, TensorDataset):
        assert raw.dataset.weights is not None
        values = samples_of(raw.dataset.weights, raw.rows).double()
    else:
        ((_, column),) = table_columns([name], raw)
        values = numbers(column)
    cells, encoded = raw.cells(name), values.float()
    remedy = "give every row a weight, where 0 leaves the row out of the loss"
    cells.add_errors(values.isnan(), lambda _: f"is missing; {remedy}")
    cells.add_errors(values < 0, lambda row: f"is {values[row]:g}; a weight must be 0 or more")
    cells.add_errors(encoded.isposinf(), lambda _: "is too large for float32 (3.4e38)")
    return encoded


def has_weights(encoding: Encoding, dataset: Dataset) -> bool:
    """Return whether labelled rows have weights: their own, or the column that the training had."""
    if isinstance(dataset, TensorDataset):
        return dataset.weights is not None
    return encoding.weights in dataset.table.column_names
