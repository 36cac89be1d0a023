"""Base class of fitted transforms, and the values that they work on."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import pyarrow as pa
import torch

from service.datasets.validation import Cells

Values: TypeAlias = torch.Tensor | pa.Array
"""Values of a column: numbers, float64 [B, …] with NaN for missing values; or text, [B] with nulls."""


class CannotFit(Exception):
    """A transform cannot be fitted on the values; the message is a predicate whose subject is the column."""


class Affine(NamedTuple):
    """factor · x + offset."""

    factor: float
    offset: float


@dataclass(frozen=True)
class FittedTransform(ABC):
    """A transform of one column with its fitted constants.

    Attributes:
        type: Name of the transform in the API.
        column: Name of the column.
    """

    type: ClassVar[str]
    column: str

    @classmethod
    @abstractmethod
    def fit(cls, declared: Any, column: str, values: Values) -> Self:
        """Fit on the values of the training rows.

        Args:
            declared: The spec of the transform.
            column: Name of the column.
            values: The values after the preceding transforms.

        Raises:
            CannotFit: The values do not determine the constants.
        """

    @abstractmethod
    def apply(self, values: Values, cells: Cells) -> Values:
        """Transform values.

        Args:
            values: The values after the preceding transforms.
            cells: Receives an error for each cell that cannot be transformed; its result is arbitrary.
        """

    def inverse(self) -> Affine | None:
        """Return the inverse of `apply`: None for `expm1`; the identity if there is no inverse."""
        return Affine(1.0, 0.0)

    def titles(self) -> list[str]:
        """Return the names of the resulting columns."""
        return [self.column]

    def to_document(self) -> dict[str, Any]:
        """Convert type, column and constants to JSON."""
        return {"type": self.type, **asdict(self)}


def as_array(values: Values) -> pa.Array:
    """Convert to an Arrow array, with nulls for missing values and 0.0 for −0.0."""
    if not isinstance(values, torch.Tensor):
        return values
    return pa.array((values + 0.0).numpy(), from_pandas=True)  # −0.0 + 0.0 is 0.0


def numbers(values: Values) -> torch.Tensor:
    """Narrow the values of a numeric column to a tensor.

    Raises:
        TypeError: The column holds text.
    """
    if not isinstance(values, torch.Tensor):
        raise TypeError("This column holds text.")
    return values
