"""Encoding of raw data as the model's tensors, the same for training, predictions and evaluations.

Rows are encoded a slice at a time and written into allocated tensors, so a mapped dataset may be larger than
memory.
"""

from typing import NamedTuple

import torch

from service.datasets.prepare.encoding import WEIGHTS, Encoding
from service.datasets.prepare.inputs import encode_input
from service.datasets.prepare.raw_rows import MAX_SLICE_ROWS, RawRows
from service.datasets.prepare.targets import encode_targets
from service.datasets.prepare.weights import encode_weights
from service.datasets.prepare.windows import Series
from service.datasets.prepare.workspace import Layout, MemoryWorkspace, Workspace

# Most bytes of a slice of encoded inputs.
MAX_SLICE_BYTES = 8 * 2**20


class Encoded(NamedTuple):
    """Encoded rows.

    Attributes:
        inputs: A tensor [n, …] for each input of the model; n rows, or n windows.
        targets: The targets, [n, …]; None if they were not requested.
        weights: The weights, float32 [n]; None if they were not requested.
        mapped: Whether `inputs` are mapped files, see `workspace.Allocation`.
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor | None
    weights: torch.Tensor | None
    mapped: bool


def encode(
    encoding: Encoding,
    raw: RawRows,
    inputs: bool = True,
    targets: bool = False,
    weights: bool = False,
    workspace: Workspace | None = None,
) -> Encoded:
    """Encode rows, in their order; cells that cannot be encoded are added to `raw.errors`.

    Args:
        encoding: Columns, transforms and classes.
        raw: The n rows or windows to encode.
        inputs: Whether to encode the inputs, float32 or int64 [n, …].
        targets: Whether to encode the targets: int64 [n, …] of class indices, otherwise float32 [n, …].
        weights: Whether to encode the weights, float32 [n].
        workspace: Memory for the inputs; by default RAM. Targets and weights are always in RAM.
    """
    if raw.series is None:
        encoded = _encode_rows(encoding, raw, inputs, targets, weights, workspace)
    else:
        encoded = _encode_windows(encoding, raw, raw.series, inputs, targets, weights)
    if encoding.flat_targets and encoded.targets is not None:
        return encoded._replace(targets=encoded.targets.flatten())
    return encoded


def _encode_rows(
    encoding: Encoding,
    raw: RawRows,
    inputs: bool,
    targets: bool,
    weights: bool,
    workspace: Workspace | None = None,
) -> Encoded:
    rows, names = len(raw.rows), encoding.input_names if inputs else ()
    shapes = dict(zip(encoding.input_names, encoding.sample_shapes, strict=True))
    layouts = [Layout((rows, *shapes[name]), encoding.dtype(name)) for name in names]
    allocation = (workspace or MemoryWorkspace()).allocate(layouts)
    encoded_targets = (
        torch.empty(rows, *encoding.target_shape, dtype=encoding.target_dtype) if targets else None
    )
    encoded_weights = None
    if weights:
        encoded_weights = encode_weights(encoding.weights or WEIGHTS, raw)
    start = 0
    row_bytes = sum(layout.nbytes for layout in layouts) // max(1, rows)
    size = min(MAX_SLICE_ROWS, max(1, MAX_SLICE_BYTES // max(1, row_bytes)))
    for part in raw.slices(size):
        for index, name in enumerate(names):
            allocation.write(index, start, encode_input(encoding, name, part))
        if encoded_targets is not None:
            encoded_targets[start : start + len(part.rows)] = encode_targets(encoding, part)
        start += len(part.rows)
    return Encoded(tuple(allocation.tensors), encoded_targets, encoded_weights, allocation.mapped)


def _encode_windows(
    encoding: Encoding, raw: RawRows, series: Series, inputs: bool, targets: bool, weights: bool
) -> Encoded:
    """Encode the rows from the first to the last window, and gather the windows."""
    window = encoding.window
    assert window is not None
    first = series.positions(raw.rows) - (window.lags - 1)  # [n]
    start, stop = int(first.min()), int(first.max()) + window.lags + (window.horizon if targets else 0)
    needed = raw._replace(rows=series.rows[start:stop], series=None)
    rows = _encode_rows(encoding, needed, inputs, targets, weights)
    return Encoded(
        tuple(window.input_windows(x)[first - start] for x in rows.inputs),
        None if rows.targets is None else window.target_windows(rows.targets)[first - start],
        None if rows.weights is None else window.window_weights(rows.weights)[first - start],
        mapped=False,
    )
