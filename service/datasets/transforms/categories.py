"""Transforms of categories: text, or numbers used as category codes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.sources.cell_texts import are_numbers
from service.datasets.sources.columns import TEXT
from service.datasets.transforms.fitted import CannotFit, FittedTransform, ValueRange, Values, as_array
from service.datasets.validation import Cells, quote_value
from service.specs import transforms as specs


@dataclass(frozen=True)
class FittedCategories(FittedTransform):
    """Base class of transforms that look up the index of a category.

    Attributes:
        categories: Strings for a text column, otherwise numbers (0 and 1 for booleans).
        unknown: Declared treatment of unknown categories: `error`, `zeros` or `extra`.
    """

    categories: tuple[str, ...] | tuple[float, ...]
    unknown: str

    @classmethod
    def fit(cls, declared: specs.Categories, column: str, values: Values) -> Self:
        found = _distinct(values) if declared.categories is None else _declared(declared.categories, values)
        if not found:
            raise CannotFit("has no value in the training rows")
        return cls(column, found, declared.unknown)  # type: ignore[attr-defined]

    def indices(self, values: Values, cells: Cells) -> torch.Tensor:
        """Look up the index of each category.

        Args:
            values: Categories, [B].
            cells: Receives an error for each missing value; if `unknown` is `error`, for unknown ones too.

        Returns:
            int64 [B]; −1 for missing and unknown values.
        """
        array = as_array(values)
        index = pc.index_in(array, value_set=pa.array(self.categories, array.type))
        indices = torch.from_numpy(index.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64))
        missing = torch.from_numpy(array.is_null().to_numpy(zero_copy_only=False).copy())
        cells.add_errors(missing, lambda _: f"is missing, and no `impute` before the {self.type} fills it")
        if self.unknown == "error":
            remedy = f'`"unknown": "{ACCEPTING_UNKNOWN[self.type]}"` accepts unknown categories'
            reason = f"which is not a category of the {self.type}; {remedy}"
            unknown = (indices < 0) & ~missing
            cells.add_errors(unknown, lambda position: f"is {quote_value(array[position].as_py())}, {reason}")
        return indices

    def to_document(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self), "categories": list(self.categories)}


@dataclass(frozen=True)
class FittedOneHot(FittedCategories):
    """One-hot encoding, float64 [B, categories]; an unknown category has 0 in all columns."""

    type: ClassVar[str] = "one_hot"

    @classmethod
    def fit(cls, declared: specs.Categories, column: str, values: Values) -> Self:
        fitted = super().fit(declared, column, values)
        if len(fitted.categories) > specs.MAX_COLUMNS:
            raise CannotFit(
                f"has {len(fitted.categories)} categories, and one_hot accepts at most "
                f"{specs.MAX_COLUMNS}; use `ordinal` as an int64 input of an `Embedding`"
            )
        return fitted

    def apply(self, values: Values, cells: Cells) -> Values:
        return indicator_columns(self.indices(values, cells), len(self.categories))

    def titles(self) -> list[str]:
        return [f"{self.column}={_text(category)}" for category in self.categories]

    def ranges(self) -> list[ValueRange | None]:
        return [None] * len(self.categories)


@dataclass(frozen=True)
class FittedOrdinal(FittedCategories):
    """Index of the category, float64 [B]; an unknown category has the index after the last one."""

    type: ClassVar[str] = "ordinal"

    def apply(self, values: Values, cells: Cells) -> Values:
        indices = self.indices(values, cells)
        return torch.where(indices < 0, len(self.categories), indices).double()

    def ranges(self) -> list[ValueRange | None]:
        count, extra = len(self.categories), self.unknown == "extra"
        reason = f"has {count} categories{' and one index for unknown ones' if extra else ''}"
        return [ValueRange(0, count - 1 + extra, reason)]


def indicator_columns(indices: torch.Tensor, count: int) -> torch.Tensor:
    """Convert indices int64 [B] to columns of 0 and 1, float64 [B, count]; −1 has 0 in all columns."""
    return (indices[:, None] == torch.arange(count)).double()


ACCEPTING_UNKNOWN = {"one_hot": "zeros", "ordinal": "extra"}
"""Value of `unknown` with which each transform accepts unknown categories."""


def _distinct(values: Values) -> tuple[Any, ...]:
    """Return the distinct values in ascending order; texts that are all numbers in the order of numbers."""
    array = pc.unique(as_array(values).drop_null())
    if array.type == TEXT and pc.all(are_numbers(array)).as_py():
        return tuple(sorted(array.to_pylist(), key=lambda text: (float(text), text)))
    return tuple(sorted(array.to_pylist()))


def _declared(categories: Sequence[specs.Label], values: Values) -> tuple[Any, ...]:
    """Convert declared categories to the type of the column's values."""
    is_text = not isinstance(values, torch.Tensor)
    for category in categories:
        if isinstance(category, str) != is_text:
            expected = "strings" if is_text else "numbers or booleans"
            raise CannotFit(f"needs {expected} as categories; found {quote_value(category)}")
    return tuple(categories) if is_text else tuple(map(float, categories))


def _text(category: str | float) -> str:
    if isinstance(category, str):
        return category
    return str(int(category)) if float(category).is_integer() else repr(float(category))
