"""The ranges that a model's inputs have in the training rows."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class InputRange(NamedTuple):
    """The range of a column of an input, or of all elements of a tensor, after their transforms.

    Attributes:
        name: Name of the column, or of the tensor.
        position: Position of the column in the input [B, k]; 0 for a tensor.
        low: Smallest value in the training rows.
        high: Largest value.
    """

    name: str
    position: int
    low: float
    high: float


class Limits(NamedTuple):
    """The values that are not far outside the ranges of an input, each float32 [k] or [1]."""

    low: Tensor
    high: Tensor


def limits_of(ranges: Sequence[InputRange], columns: int) -> Limits:
    """Extend each range by its width on both sides.

    Args:
        ranges: The ranges of an input [B, k], or the single one of a tensor.
        columns: k, or 1 for a tensor. A column without a range has no limits.
    """
    low, high = [-math.inf] * columns, [math.inf] * columns
    for each in ranges:
        width = each.high - each.low
        low[each.position], high[each.position] = each.low - width, each.high + width
    return Limits(torch.tensor(low), torch.tensor(high))
