"""Transforms of numbers, element by element. A missing number stays missing.

Of what `apply` gets only the last result is rounded to float32, so that a chain rounds once.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from service.datasets.transforms.fitted import CannotFit, FittedTransform, Values, numbers
from service.datasets.validation import Cells
from service.specs import transforms as specs


@dataclass(frozen=True)
class FittedScale(FittedTransform):
    """x · factor in float32, bit for bit what PyTorch gives for a Python number times a float32 tensor."""

    type: ClassVar[str] = "scale"
    factor: float

    @classmethod
    def fit(cls, declared: specs.Scale, column: str, values: Values) -> Self:
        return cls(column, declared.factor)

    def apply(self, values: Values, cells: Cells) -> Values:
        return self.factor * numbers(values).float()

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.float() / self.factor


@dataclass(frozen=True)
class FittedStandardize(FittedTransform):
    """(x − mean) / std in float64; 0 where std is 0."""

    type: ClassVar[str] = "standardize"
    mean: float
    std: float

    @classmethod
    def fit(cls, declared: specs.Standardize, column: str, values: Values) -> Self:
        present = _present(values)
        low, high = present.min().item(), present.max().item()
        if low == high:  # the rounded mean of equal values may differ from them, and leave a tiny spread
            return cls(column, low, 0.0)
        return cls(column, *_finite(present.mean().item(), present.std(correction=0).item()))

    def apply(self, values: Values, cells: Cells) -> Values:
        return _shrink(numbers(values), self.mean, self.std)

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.double() * self.std + self.mean


@dataclass(frozen=True)
class FittedMinMax(FittedTransform):
    """(x − min) / (max − min) in float64; 0 where they are equal."""

    type: ClassVar[str] = "minmax"
    min: float
    max: float

    @classmethod
    def fit(cls, declared: specs.MinMax, column: str, values: Values) -> Self:
        present = _present(values)
        low, high = present.min().item(), present.max().item()
        _finite(high - low)
        return cls(column, low, high)

    def apply(self, values: Values, cells: Cells) -> Values:
        return _shrink(numbers(values), self.min, self.max - self.min)

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.double() * (self.max - self.min) + self.min


@dataclass(frozen=True)
class FittedLog1p(FittedTransform):
    """ln(1 + x) in float64."""

    type: ClassVar[str] = "log1p"

    @classmethod
    def fit(cls, declared: specs.Log1p, column: str, values: Values) -> Self:
        return cls(column)

    def apply(self, values: Values, cells: Cells) -> Values:
        values = numbers(values).double()
        beyond = (values <= -1).reshape(len(values), -1).any(dim=1)
        cells.note(beyond, lambda _: "is −1 or less: log1p takes greater numbers only")
        return torch.where(values <= -1, 0.0, values).log1p()

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.double().expm1()


@dataclass(frozen=True)
class FittedClip(FittedTransform):
    """min(max(x, low), high); what was beyond a limit is not known from the result."""

    type: ClassVar[str] = "clip"
    min: float | None
    max: float | None

    @classmethod
    def fit(cls, declared: specs.Clip, column: str, values: Values) -> Self:
        return cls(column, declared.min, declared.max)

    def apply(self, values: Values, cells: Cells) -> Values:
        return numbers(values).double().clamp(self.min, self.max)


def _present(values: Values) -> torch.Tensor:
    """The numbers that are there, float64 and flat."""
    flat = numbers(values).double().flatten()
    missing = flat.isnan()
    present = flat[~missing] if missing.any() else flat
    if not len(present):
        raise CannotFit("has no value in the training rows")
    return present


def _finite(*constants: float) -> tuple[float, ...]:
    if not all(map(math.isfinite, constants)):
        raise CannotFit("holds values that are too large: sums of them are beyond a double's range")
    return constants


def _shrink(values: torch.Tensor, offset: float, spread: float) -> torch.Tensor:
    values = values.double()
    return (values - offset) / spread if spread else torch.where(values.isnan(), values, 0.0)
