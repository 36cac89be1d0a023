"""Transforms of categories: text, or numbers that stand for kinds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.sources.columns import MOST_COLUMNS
from service.datasets.transforms.fitted import CannotFit, FittedTransform, Values, as_array
from service.datasets.validation import Cells, shown
from service.specs import transforms as specs


@dataclass(frozen=True)
class FittedCategories(FittedTransform):
    """What categories become by their index.

    Attributes:
        categories: strings of a column of text, else numbers (booleans are 0 and 1).
        unknown: what becomes of others, as declared.
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
        """int64 [B], the category of each value; −1 for a missing one and for one that isn't known."""
        array = as_array(values)
        index = pc.index_in(array, value_set=pa.array(self.categories, array.type))
        indices = torch.from_numpy(index.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64))
        missing = torch.from_numpy(array.is_null().to_numpy(zero_copy_only=False).copy())
        cells.note(missing, lambda _: f"is missing: only an `impute` before the {self.type} fills it")
        if self.unknown == "error":
            remedy = f'the {self.type} has no such category; `"unknown": "{_POLICIES[self.type]}"` takes it'
            unknown = (indices < 0) & ~missing
            cells.note(unknown, lambda position: f"is {shown(array[position].as_py())}: {remedy}")
        return indices

    def to_document(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self), "categories": list(self.categories)}


@dataclass(frozen=True)
class FittedOneHot(FittedCategories):
    """A column of 0 and 1 for each category, [B, categories]; all 0 for one that isn't known."""

    type: ClassVar[str] = "one_hot"

    @classmethod
    def fit(cls, declared: specs.Categories, column: str, values: Values) -> Self:
        fitted = super().fit(declared, column, values)
        if len(fitted.categories) > MOST_COLUMNS:
            raise CannotFit(
                f"has {len(fitted.categories)} categories, and one_hot takes {MOST_COLUMNS} at most: "
                "take `ordinal`, as an int64 input for an `Embedding`"
            )
        return fitted

    def apply(self, values: Values, cells: Cells) -> Values:
        known = torch.arange(len(self.categories))
        return (self.indices(values, cells)[:, None] == known).double()

    def titles(self) -> list[str]:
        return [f"{self.column}={_text(category)}" for category in self.categories]


@dataclass(frozen=True)
class FittedOrdinal(FittedCategories):
    """The index of the category, float64 [B]; one that isn't known has the index after the last."""

    type: ClassVar[str] = "ordinal"

    @property
    def count(self) -> int:
        """How many indices there may be, with that of what isn't known."""
        return len(self.categories) + (self.unknown == "extra")

    def apply(self, values: Values, cells: Cells) -> Values:
        indices = self.indices(values, cells)
        return torch.where(indices < 0, len(self.categories), indices).double()


_POLICIES = {"one_hot": "zeros", "ordinal": "extra"}


def _distinct(values: Values) -> tuple[Any, ...]:
    return tuple(sorted(pc.unique(as_array(values).drop_null()).to_pylist()))


def _declared(categories: Sequence[specs.Label], values: Values) -> tuple[Any, ...]:
    """Declared categories in the form of the column's values."""
    is_text = not isinstance(values, torch.Tensor)
    for category in categories:
        if isinstance(category, str) != is_text:
            kinds = "strings" if is_text else "numbers or booleans"
            raise CannotFit(f"has categories that are {kinds}; {shown(category)} is none")
    return tuple(categories) if is_text else tuple(map(float, categories))


def _text(category: str | float) -> str:
    return category if isinstance(category, str) else f"{category:g}"
