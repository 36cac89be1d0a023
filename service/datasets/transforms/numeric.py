"""Transforms of numbers, element by element; missing values (NaN) stay missing.

Results are float64 (except those of `scale`), so that a chain of transforms is rounded to float32 only once.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

import torch

from service.datasets.transforms.fitted import Affine, CannotFit, FittedTransform, Values, numbers
from service.datasets.validation import Cells
from service.specs import transforms as specs

Constant: TypeAlias = float | tuple[float, ...]
"""A constant of a column, or of each of the k columns that a column has become."""
_ALL_ZERO = "maps all its values to 0, because they are equal in the training rows"


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
    """(x − mean) / std in float64, with the population standard deviation; 0 if std is 0.

    Attributes:
        mean: One number, or one for each of k columns.
        std: Likewise.
    """

    type: ClassVar[str] = "standardize"
    mean: Constant
    std: Constant

    @classmethod
    def fit(cls, declared: specs.Standardize, column: str, values: Values) -> Self:
        present = _present(values)
        low, high = present.min().item(), present.max().item()
        if low == high:  # the rounded mean of equal values may differ from them, so std would not be 0
            return cls(column, low, 0.0)
        return cls(column, *_finite(present.mean().item(), present.std(correction=0).item()))

    def apply(self, values: Values, cells: Cells) -> Values:
        return _rescale(numbers(values), _constant(self.mean), _constant(self.std))

    def inverse(self) -> Affine:
        return Affine(_of_target(self.std), _of_target(self.mean))

    def lossy(self) -> str | None:
        return _ALL_ZERO if self.std == 0 else None


@dataclass(frozen=True)
class FittedMinMax(FittedTransform):
    """(x − min) / (max − min) in float64; 0 if min and max are equal.

    Attributes:
        min: One number, or one for each of k columns.
        max: Likewise.
    """

    type: ClassVar[str] = "minmax"
    min: Constant
    max: Constant

    @classmethod
    def fit(cls, declared: specs.MinMax, column: str, values: Values) -> Self:
        present = _present(values)
        low, high = present.min().item(), present.max().item()
        _finite(high - low)
        return cls(column, low, high)

    def apply(self, values: Values, cells: Cells) -> Values:
        low, high = _constant(self.min), _constant(self.max)
        return _rescale(numbers(values), low, high - low)

    def inverse(self) -> Affine:
        low = _of_target(self.min)
        return Affine(_of_target(self.max) - low, low)

    def lossy(self) -> str | None:
        return _ALL_ZERO if self.min == self.max else None


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

    def lossy(self) -> str:
        limits = ((self.min, "at least"), (self.max, "at most"))
        shown = " and ".join(f"{words} {limit:g}" for limit, words in limits if limit is not None)
        return f"limits its values to {shown}"


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


def _of_target(value: Constant) -> float:
    """Return a constant of a target, which is one column: only features become several."""
    if isinstance(value, tuple):
        raise TypeError("The columns that a datetime has become have no inverse.")
    return value


def _constant(value: Constant) -> torch.Tensor:
    """float64 [], or [k] for each of k columns."""
    return torch.tensor(value, dtype=torch.float64)


def _rescale(values: torch.Tensor, offset: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """(values − offset) / spread in float64; 0 where `spread` is 0."""
    values = values.double()
    scaled = (values - offset) / spread
    return scaled if spread.all() else torch.where(values.isnan() | (spread != 0), scaled, 0.0)
