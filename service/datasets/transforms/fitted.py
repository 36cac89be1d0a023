"""What all fitted transforms have in common."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self, TypeAlias

import pyarrow as pa
import torch

from service.datasets.validation import Cells

Values: TypeAlias = torch.Tensor | pa.Array
"""A column at work: numbers, float64 [B, …] and NaN where one is missing; or text [B], null where missing."""


class CannotFit(Exception):
    """A transform can't be fitted on these values; the message ends a sentence about their column."""


@dataclass(frozen=True)
class FittedTransform(ABC):
    """One transform of one column, with its constants."""

    type: ClassVar[str]
    column: str

    @classmethod
    @abstractmethod
    def fit(cls, declared: Any, column: str, values: Values) -> Self:
        """Fit on the values of the training rows.

        Args:
            declared: the spec of this transform.
            column: the column's name.
            values: what the transforms before this one leave.

        Raises:
            CannotFit: when there are no constants for these values.
        """

    @abstractmethod
    def apply(self, values: Values, cells: Cells) -> Values:
        """The transformed values; cells that can't be transformed are noted, and anything stands for them."""

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        """The numbers [B] that `apply` would take to these, where it can be undone; else these."""
        return values

    def titles(self) -> list[str]:
        """The names of the columns that the column becomes."""
        return [self.column]

    def to_document(self) -> dict[str, Any]:
        """Type, column and constants as JSON."""
        return {"type": self.type, **asdict(self)}


def as_array(values: Values) -> pa.Array:
    """The values as Arrow has them: null where one is missing, and one zero only."""
    if not isinstance(values, torch.Tensor):
        return values
    return pa.array((values + 0.0).numpy(), from_pandas=True)  # −0.0 + 0.0 is 0.0


def numbers(values: Values) -> torch.Tensor:
    """The values of a column that is known to hold numbers."""
    if not isinstance(values, torch.Tensor):
        raise TypeError("This column holds text.")
    return values
