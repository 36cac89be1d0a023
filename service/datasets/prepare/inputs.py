"""Encoding of columns and tensors of numbers as float32 or int64."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import TensorDataset
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.raw_values import table_columns, tensor_values
from service.datasets.rows import select_rows
from service.datasets.sources.columns import INTEGER
from service.datasets.transforms import pipeline
from service.datasets.validation import Cells

MAX_EXACT_INTEGER = 2**53
"""float64 represents every integer of a smaller magnitude exactly."""

# End of the error of a missing value of a feature.
NOT_IMPUTED = ", and the job has no `impute` to fill it"


def encode_input(encoding: Encoding, name: str, raw: RawRows) -> torch.Tensor:
    """Encode a slice of an input, [b, …] of the input's dtype."""
    dtype = encoding.dtype(name)
    if encoding.groups:
        return encode_columns(encoding, encoding.groups[name], raw, dtype)
    assert isinstance(raw.dataset, TensorDataset)
    values = tensor_values(raw.dataset, name, raw.rows)
    if transforms := encoding.transforms_of(name):
        values = pipeline.apply(transforms, values.double(), raw.cells(name))
    return to_dtype(values, dtype, raw.cells(name))


def encode_columns(
    encoding: Encoding,
    names: Sequence[str],
    raw: RawRows,
    dtype: torch.dtype,
    missing_remedy: str = NOT_IMPUTED,
    keeps_missing: bool = False,
) -> torch.Tensor:
    """Transform columns and join them to [b, k]; a column may become several."""
    encoded = []
    for name, values in table_columns(names, raw):
        cells = raw.cells(name)
        if encoding.looks_up(name):
            _check_exact(select_rows(raw.dataset.table[name], raw.rows), cells)  # type: ignore[union-attr]
        transformed = pipeline.apply(encoding.transforms_of(name), values, cells)  # [b] or [b, j]
        column = to_dtype(transformed, dtype, cells, missing_remedy, keeps_missing)
        encoded.append(column if column.dim() > 1 else column[:, None])
    return torch.cat(encoded, dim=1)


def _check_exact(column: pa.ChunkedArray, cells: Cells) -> None:
    """Report integers that float64 does not represent exactly, and that are looked up by their value."""
    if column.type == INTEGER:
        large = pc.or_(pc.greater_equal(column, MAX_EXACT_INTEGER), pc.less_equal(column, -MAX_EXACT_INTEGER))
        mask = torch.from_numpy(large.fill_null(False).to_numpy().copy())
        cells.add_errors(mask, lambda _: "is beyond 2**53, where neighbours are equal to the model")


def to_dtype(
    values: torch.Tensor,
    dtype: torch.dtype,
    cells: Cells,
    missing_remedy: str = NOT_IMPUTED,
    keeps_missing: bool = False,
) -> torch.Tensor:
    """Convert values [b, …] to float32 or int64; report values that are missing or not representable.

    Args:
        values: The values, NaN where they are missing.
        dtype: float32 or int64.
        cells: Receives an error for each row with such a value.
        missing_remedy: End of the error of a missing value.
        keeps_missing: Whether missing values stay NaN, in float32, instead of being reported.
    """
    if not values.is_floating_point():
        return values.to(dtype)
    if dtype is torch.float32:
        converted = values.float()
        valid, problem = converted.isfinite(), "is too large for float32 (3.4e38)"
    else:
        converted = values
        valid = (values == values.floor()) & (values.abs() < MAX_EXACT_INTEGER)
        problem = "is not an integer, and the dtype of the input is int64"
    if not valid.all():
        missing = values.isnan()
        if not keeps_missing:
            cells.add_errors(any_in_row(missing), lambda _: f"is missing{missing_remedy}")
        cells.add_errors(any_in_row(~valid & ~missing), lambda _: problem)
    return converted.to(dtype)


def any_in_row(mask: torch.Tensor) -> torch.Tensor:
    """bool [b, …] -> bool [b]."""
    return mask.reshape(len(mask), -1).any(dim=1)
