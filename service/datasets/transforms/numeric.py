"""Transforms of numbers, element by element; missing values (NaN) stay missing.

Results are float64 (except those of `scale`), so that a chain of transforms is rounded to float32 only once.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from service.datasets.transforms.fitted import Affine, CannotFit, FittedTransform, Values, numbers
from service.datasets.validation import Cells
from service.specs import transforms as specs


@dataclass(frozen=True)
class FittedScale(FittedTransform):
    """x · factor in float32, with the bits of a Python number times a float32 tensor in PyTorch."""

    type: ClassVar[str] = "scale"
    factor: float

    @classmethod
    def fit(cls, declared: specs.Scale, column: str, values: Values) -> Self:
        return cls(column, declared.factor)

    def apply(self, values: Values, cells: Cells) -> Values:
        return self.factor * numbers(values).float()

    def inverse(self) -> Affine:
        return Affine(1 / self.factor, 0.0)


@dataclass(frozen=True)
class FittedStandardize(FittedTransform):
    """(x − mean) / std in float64, with the population standard deviation; 0 if std is 0."""

    type: ClassVar[str] = "standardize"
    mean: float
    std: float

    @classmethod
    def fit(cls, declared: specs.Standardize, column: str, values: Values) -> Self:
        present = _present(values)
        low, high = present.min().item(), present.max().item()
        if low == high:  # the rounded mean of equal values may differ from them, so std would not be 0
            return cls(column, low, 0.0)
        return cls(column, *_finite(present.mean().item(), present.std(correction=0).item()))

    def apply(self, values: Values, cells: Cells) -> Values:
        return _rescale(numbers(values), self.mean, self.std)

    def inverse(self) -> Affine:
        return Affine(self.std, self.mean)


@dataclass(frozen=True)
class FittedMinMax(FittedTransform):
    """(x − min) / (max − min) in float64; 0 if min and max are equal."""

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
        return _rescale(numbers(values), self.min, self.max - self.min)

    def inverse(self) -> Affine:
        return Affine(self.max - self.min, self.min)


@dataclass(frozen=True)
class FittedLog1p(FittedTransform):
    """ln(1 + x) in float64."""

    type: ClassVar[str] = "log1p"

    @classmethod
    def fit(cls, declared: specs.Log1p, column: str, values: Values) -> Self:
        return cls(column)

    def apply(self, values: Values, cells: Cells) -> Values:
        values = numbers(values).double()
        invalid = (values <= -1).reshape(len(values), -1).any(dim=1)  # [B, …] -> [B]
        cells.add_errors(invalid, lambda _: "is −1 or less; log1p needs numbers greater than −1")
        return torch.where(values <= -1, 0.0, values).log1p()

    def inverse(self) -> None:
        return None


@dataclass(frozen=True)
class FittedClip(FittedTransform):
    """min(max(x, min), max) in float64; it has no inverse."""

    type: ClassVar[str] = "clip"
    min: float | None
    max: float | None

    @classmethod
    def fit(cls, declared: specs.Clip, column: str, values: Values) -> Self:
        return cls(column, declared.min, declared.max)

    def apply(self, values: Values, cells: Cells) -> Values:
        return numbers(values).double().clamp(self.min, self.max)


def _present(values: Values) -> torch.Tensor:
    """Select the numbers that are not missing, float64 [n], from any shape.

    Raises:
        CannotFit: All numbers are missing.
    """
    flat = numbers(values).double().flatten()
    missing = flat.isnan()
    present = flat[~missing] if missing.any() else flat
    if not len(present):
        raise CannotFit("has no value in the training rows")
    return present


def _finite(*constants: float) -> tuple[float, ...]:
    if not all(map(math.isfinite, constants)):
        raise CannotFit("holds values that are too large: their sum exceeds the range of float64")
    return constants


def _rescale(values: torch.Tensor, offset: float, spread: float) -> torch.Tensor:
    """(values − offset) / spread in float64; 0 if `spread` is 0."""
    values = values.double()
    return (values - offset) / spread if spread else torch.where(values.isnan(), values, 0.0)
