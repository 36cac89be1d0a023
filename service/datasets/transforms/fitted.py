"""Base class of fitted transforms, and the values that they work on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import pyarrow as pa
import torch

from service.datasets.validation import Cells

Values: TypeAlias = torch.Tensor | pa.Array
"""Values of a column: numbers, float64 [B, …] with NaN if missing; or text or times, [B] with nulls."""


class ValueRange(NamedTuple):
    """The values that a resulting column can have, whatever the data.

    Attributes:
        low: Smallest value.
        high: Largest value.
        reason: What determines them, as a predicate whose subject is the column ("has 3 categories").
    """

    low: int
    high: int
    reason: str


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

    @classmethod
    def join(cls, fitted: Sequence[Self]) -> Self:
        """Join transforms that were fitted on each of k columns to one of all of them, [B, k].

        A constant that differs between them becomes a tuple of k constants.
        """
        constants = {field.name: tuple(getattr(each, field.name) for each in fitted) for field in fields(cls)}
        joined = {name: each[0] if len(set(each)) == 1 else each for name, each in constants.items()}
        return cls(**joined)  # type: ignore[arg-type]  # constants of the type's own fields

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

    def lossy(self) -> str | None:
        """Return why no inverse restores all values of a target, as a predicate; None if `inverse` does."""
        return None

    def titles(self) -> list[str] | None:
        """Return the names of the resulting columns; None if they are those before the transform."""
        return None

    def ranges(self) -> list[ValueRange | None]:
        """Return the range of each resulting column, None for each that has no fixed range."""
        return []

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
        TypeError: The column holds text or times.
    """
    if not isinstance(values, torch.Tensor):
        raise TypeError(f"This column holds {values.type}.")
    return values
