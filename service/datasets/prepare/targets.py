"""Encoding of targets: numbers, classes, and columns of two labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import TabularDataset, TensorDataset
from service.datasets.prepare.encoding import IGNORED, TARGETS, Encoding
from service.datasets.prepare.inputs import any_in_row, encode_columns, to_dtype
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.raw_values import table_columns, tensor_values, values_of
from service.datasets.rows import select_rows
from service.datasets.sources.columns import INTEGER, NUMBER, TEXT
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import as_array, numbers
from service.datasets.transforms.missing import is_missing
from service.datasets.validation import quote_value
from service.specs.transforms import Label

LEAVE_OUT = ": leave the row out"


def encode_targets(encoding: Encoding, raw: RawRows) -> torch.Tensor:
    """Encode a slice of the targets.

    Returns:
        Class indices int64 [b] (or [b, …] of tensor data), binary targets float32 [b, 1] of 0 and 1, or
        values float32 [b, k] (or [b, …]). If the encoding masks targets, NaN for missing ones.
    """
    if isinstance(raw.dataset, TensorDataset):
        targets = tensor_values(raw.dataset, TARGETS, raw.rows)  # [b, …]
        if encoding.classes is not None:
            labels = pa.array(targets.flatten().numpy())
            class_numbers = _class_numbers(encoding, labels, raw, TARGETS)
            return class_numbers.reshape(targets.shape).to(encoding.target_dtype)
        if transforms := encoding.transforms_of(TARGETS):
            targets = pipeline.apply(transforms, targets.double(), raw.cells(TARGETS))
        return to_dtype(targets, torch.float32, raw.cells(TARGETS), LEAVE_OUT, encoding.masks_targets)
    if encoding.classes is None:
        columns = [_encode_target(encoding, name, raw) for name in encoding.targets]
        return torch.cat(columns, dim=1)
    (name,) = encoding.targets
    labels = _labels(name, raw)
    class_numbers = _class_numbers(encoding, labels, raw, name)  # [b]
    return _binary(class_numbers, labels) if encoding.is_binary else class_numbers


def _binary(numbers: torch.Tensor, labels: pa.Array) -> torch.Tensor:
    """Convert 0 and 1 [b] to float32 [b, 1], NaN for missing labels, which are reported or masked."""
    return numbers.float().masked_fill(is_missing(labels), torch.nan)[:, None]


def _labels(name: str, raw: RawRows) -> pa.Array:
    """Return a slice of a column of labels, [b]; integers exactly, since float64 equates large neighbours."""
    assert isinstance(raw.dataset, TabularDataset)
    column = select_rows(raw.dataset.table[name], raw.rows)
    return column.combine_chunks() if column.type == INTEGER else as_array(values_of(column))


def _encode_target(encoding: Encoding, name: str, raw: RawRows) -> torch.Tensor:
    """Encode a slice of one of several target columns, of numbers or of two labels, float32 [b, 1]."""
    if name not in encoding.column_classes:
        return encode_columns(encoding, [name], raw, torch.float32, LEAVE_OUT, encoding.masks_targets)
    labels = _labels(name, raw)
    found = _find_labels(encoding, labels, encoding.column_classes[name], raw, name)
    return _binary(found, labels)


def target_values(encoding: Encoding, raw: RawRows) -> torch.Tensor:
    """Return numeric targets before their transforms, float64 [n, k], [n, horizon, k], [n] or [n, …]."""
    if isinstance(raw.dataset, TensorDataset):
        return tensor_values(raw.dataset, TARGETS, raw.rows).double()
    if (series := raw.series) is not None and encoding.window is not None:
        following = series.positions(raw.rows) + 1
        rows = [series.row_numbers(following + step) for step in range(encoding.window.horizon)]
        steps = [_column_values(encoding, raw._replace(rows=each)) for each in rows]
        return torch.stack(steps, dim=1).reshape(len(raw.rows), *encoding.batch_target_shape)
    return _column_values(encoding, raw).reshape(len(raw.rows), *encoding.batch_target_shape)


def _column_values(encoding: Encoding, raw: RawRows) -> torch.Tensor:
    """Return the values of the target columns in rows, float64 [n, k]."""
    return torch.stack([numbers(values) for _, values in table_columns(encoding.targets, raw)], dim=1)


def _class_numbers(encoding: Encoding, labels: pa.Array, raw: RawRows, name: str) -> torch.Tensor:
    """Encode labels as the outputs of their classes, and the label that is no class as `IGNORED`.

    Args:
        encoding: The encoding, which has the classes.
        labels: Labels of the slice, [b · m] with m labels for each row, row after row.
        raw: The slice of b rows.
        name: Target column, or `targets`.

    Returns:
        int64 [b · m]; any number in place of an unknown label, and of a missing one if targets are masked.
    """
    ignored = () if encoding.ignored is None else (encoding.ignored,)
    found = _find_labels(encoding, labels, encoding.values_by_class, raw, name, ignored)
    return torch.tensor([*encoding.outputs_by_class, *[IGNORED] * len(ignored)])[found]


def _find_labels(
    encoding: Encoding,
    labels: pa.Array,
    classes: Sequence[Label],
    raw: RawRows,
    name: str,
    others: Sequence[Label] = (),
) -> torch.Tensor:
    """Look up labels in `classes`, then in `others`; report labels that are in neither.

    Returns:
        Positions, int64 [b · m]; 0 in place of an unknown label.
    """
    known: Sequence[Any] = [*classes, *others]
    if labels.type != TEXT:
        # Compare integers as int64: float64 would equate neighbours beyond 2**53.
        exact = pa.types.is_integer(labels.type) and all(isinstance(label, int) for label in known)
        labels = labels.cast(pa.int64() if exact else NUMBER)
        known = list(map(int if exact else float, known))
    found = pc.index_in(labels, value_set=pa.array(known, labels.type)).fill_null(-1)
    positions = torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))
    per_row = len(positions) // len(raw.rows)
    names = ", ".join(map(quote_value, classes[:10]))

    def problem(position: int) -> str:
        label = labels[position * per_row].as_py()
        if label is None:
            return f"is missing{LEAVE_OUT}"
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        return f"is {quote_value(label)}, which is none of the model's classes: {names}"

    unknown = positions < 0
    if encoding.masks_targets:
        unknown &= ~is_missing(labels)
    raw.cells(name).add_errors(any_in_row(unknown.reshape(len(raw.rows), -1)), problem)
    return positions.clamp(min=0)
