"""Rows with an index that an embedding doesn't have, found after the model failed on them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.transforms import pipeline

Hook = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]


def report_indices(module: nn.Module, encoding: Encoding, inputs: Sequence[Tensor], raw: RawRows) -> None:
    """Report each row with an index for which an embedding has no entry.

    Args:
        module: The model.
        encoding: Encoding of the inputs.
        inputs: Encoded inputs of the rows, each [B, …].
        raw: The rows, which receive the errors.

    Raises:
        InvalidRequest: There is such a row.
    """
    reported: set[str] = set()

    def hook_of(name: str) -> Hook:
        def report(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            indices, *others = arguments
            count = int(layer.num_embeddings)  # type: ignore[arg-type]
            valid = indices.clamp(0, count - 1)
            if len(indices) == len(inputs[0]):  # otherwise not an index per row
                detail = f"and layer `{name}` ({type(layer).__name__}) has the indices 0 to {count - 1}"
                _report(_first_outside(indices, valid), detail)
            return (valid, *others)  # continue with valid indices, to find those of other embeddings

        return report

    def _report(outside: Tensor, detail: str) -> None:
        bad = outside.isfinite()  # [B]
        if not bad.any():
            return
        column = _column_of(encoding, inputs, outside)
        if column is None:
            row = int(bad.nonzero()[0])
            raw.errors.add("#", f"Row {int(raw.rows[row])} leads to the index {outside[row]:g}, {detail}.")
        elif column not in reported:
            reported.add(column)
            raw.cells(column).add_errors(bad, lambda row: f"is {outside[row]:g}, {detail}")

    with ExitStack() as hooks:
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
                hooks.enter_context(layer.register_forward_pre_hook(hook_of(name)))
        module(*inputs)
    raw.errors.raise_if_any()


def _first_outside(indices: Tensor, valid: Tensor) -> Tensor:
    """Return the first index of each row that is not valid, float64 [B]; NaN for rows without one."""
    flat, outside = indices.reshape(len(indices), -1), (indices != valid).reshape(len(indices), -1)  # [B, m]
    first = flat.gather(1, outside.int().argmax(dim=1, keepdim=True))[:, 0].double()
    return torch.where(outside.any(dim=1), first, torch.nan)


def _column_of(encoding: Encoding, inputs: Sequence[Tensor], outside: Tensor) -> str | None:
    """Find the column or input that contains the invalid index of every row that has one.

    Args:
        encoding: Encoding of the inputs.
        inputs: Encoded inputs, each [B, …].
        outside: Invalid indices, float64 [B]; NaN for rows without one.
    """
    bad = outside.isfinite()
    for name, block in zip(encoding.input_names, inputs, strict=True):
        values = block[bad].reshape(int(bad.sum()), -1)  # [rows, m]
        equal = values == outside[bad][:, None]
        if not encoding.groups and equal.any(dim=1).all():
            return name
        position = 0
        for column in encoding.groups.get(name, ()):
            end = position + len(pipeline.titles(column, encoding.transforms_of(column)))
            if equal[:, position:end].any(dim=1).all():
                return column
            position = end
    return None
