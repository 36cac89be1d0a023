"""Inputs of predictions that are far outside the ranges of the training.

A value is far outside if it is beyond the range of the training rows by more than the width of this range,
after the transforms: a model that was trained on 0 to 10 gets −10 to 20 without a warning.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.input_ranges import InputRange
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.samples import Samples
from service.datasets.transforms import pipeline
from service.datasets.validation import count_of
from service.errors import FieldError

# Elements of all inputs in which ranges are found; of larger inputs, evenly spaced samples are taken.
MAX_ELEMENTS = 2**22
_MAX_LISTED = 10  # columns with a warning of their own


def find_input_ranges(
    encoding: Encoding, train: Samples, max_elements: int = MAX_ELEMENTS
) -> dict[str, tuple[InputRange, ...]]:
    """Find the ranges of the training inputs.

    Args:
        encoding: The encoding, without ranges.
        train: Training samples.
        max_elements: Elements of all inputs above which evenly spaced samples are taken.

    Returns:
        By input: for a table the range of each numeric column; for tensors one range of all their elements.
        Inputs of int64, categories and parts of dates have none.
    """
    elements = sum(x[:1].numel() for x in train.inputs) * train.rows
    samples = train
    if elements > max_elements or train.order is not None:
        samples = train.take(torch.arange(0, train.rows, 1 + elements // max_elements))
    found = {}
    for name, block in zip(encoding.input_names, samples.inputs, strict=True):
        positions = _positions(encoding, name)
        if positions and block.is_floating_point() and not block.is_meta:
            columns = block.reshape(-1, block.shape[-1] if encoding.groups else 1)  # [n, k], or [n, 1]
            low, high = (each.tolist() for each in columns.aminmax(dim=0))
            found[name] = tuple(InputRange(each, i, low[i], high[i]) for each, i in positions.items())
    return found


def _positions(encoding: Encoding, name: str) -> dict[str, int]:
    """Return the position of each numeric column of an input [B, k]; of a tensor, its name and 0."""
    if not encoding.groups:
        return {name: 0}
    found, position = {}, 0
    for column in encoding.groups[name]:
        if encoding.types[column] == "numeric" and not encoding.looks_up(column):
            found[column] = position  # followed by an indicator of missing values, if it has one
        position += len(pipeline.titles(column, encoding.transforms_of(column)))
    return found


@dataclass
class _Found:
    """Rows in which a column is far outside: the first one, with its value, and their number."""

    first_row: int
    value: float
    rows: int = 0


@dataclass
class FarInputs:
    """Counts rows with inputs that are far outside the ranges of the training.

    Args:
        encoding: The encoding of the model. Those of earlier versions have no ranges.
    """

    encoding: Encoding
    _rows: int = 0
    _found: dict[InputRange, _Found] = field(default_factory=dict)

    def add(self, inputs: Sequence[Tensor], raw: RawRows) -> None:
        """Add the next rows, with their encoded inputs, each [B, …]."""
        self._rows += len(raw.rows)
        for name, block in zip(self.encoding.input_names, inputs, strict=True):
            if name in self.encoding.input_limits:
                low, high = self.encoding.input_limits[name]
                inside = block.clamp(low, high)
                if not torch.equal(inside, block):
                    self._count(name, block, inside != block, raw)

    def _count(self, name: str, block: Tensor, outside: Tensor, raw: RawRows) -> None:
        """Count the rows of each column of an input [B, …], by a mask of the values far outside."""
        for each in self.encoding.input_ranges[name]:
            chosen = (..., each.position) if self.encoding.groups else ...
            values, far = block[chosen].reshape(len(block), -1), outside[chosen].reshape(len(block), -1)
            rows = far.any(dim=1)  # [B], from [B, m]
            if rows.any():
                first = int(rows.int().argmax())
                value = values[first][far[first]][0].item()
                found = self._found.setdefault(each, _Found(int(raw.rows[first]), value))
                found.rows += int(rows.sum())

    def warnings(self, raw: RawRows) -> list[FieldError]:
        """Return a warning for each column, at its pointer in the request."""
        noun = "row" if self.encoding.window is None else "window"
        listed = [
            FieldError(raw.column_pointer(each.name), self._detail(each, found, noun))
            for each, found in self._found.items()
        ]
        if len(listed) > _MAX_LISTED:
            more = count_of(len(listed) - _MAX_LISTED, "more column")
            detail = f"{more} have values as far outside the training range."
            return [*listed[:_MAX_LISTED], FieldError(listed[_MAX_LISTED].pointer, detail)]
        return listed

    def _detail(self, each: InputRange, found: _Found, noun: str) -> str:
        transforms = self.encoding.transforms_of(each.name)
        values = torch.tensor([each.low, each.high, found.value])
        *ends, value = pipeline.invert(transforms, values).tolist()
        low, high = sorted(ends)
        low, high = (_rounded(end, max(abs(low), abs(high))) for end in (low, high))
        seen = f"{low:g} … {high:g}" if low < high else f"{low:g}"
        width = " by more than its width" if low < high else ""
        rows = f"{found.rows} of {count_of(self._rows, noun)}, first in row {found.first_row} ({value:g})"
        reason = "the model has learned nothing about such values"
        return f"`{each.name}` is outside the training range {seen}{width} in {rows}: {reason}."


def _rounded(value: float, scale: float) -> float:
    """Round to 6 digits of a number of another magnitude: float32 has the 0 of a scaled column as 1e-7."""
    if not 0 < scale < math.inf:
        return value
    return round(value, 5 - math.floor(math.log10(scale))) + 0.0  # −0.0 + 0.0 is 0.0
