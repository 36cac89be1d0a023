"""Values for missing ones."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.transforms.fitted import CannotFit, FittedTransform, Values, as_array
from service.datasets.validation import Cells, shown
from service.specs import transforms as specs


@dataclass(frozen=True)
class FittedImpute(FittedTransform):
    """One value for all missing ones.

    Attributes:
        value: a string for text, else a number.
        indicator: whether a column beside this one tells where values were missing.
    """

    type: ClassVar[str] = "impute"
    value: float | str
    indicator: bool

    @classmethod
    def fit(cls, declared: specs.Impute, column: str, values: Values) -> Self:
        return cls(column, _value(declared, values), declared.indicator)

    def apply(self, values: Values, cells: Cells) -> Values:
        if isinstance(values, torch.Tensor):
            return torch.where(values.isnan(), float(self.value), values.double())
        return values.fill_null(self.value)


def has_indicator(transform: FittedTransform) -> bool:
    """Whether a transform adds a column that tells where values were missing."""
    return isinstance(transform, FittedImpute) and transform.indicator


def is_missing(values: Values) -> torch.Tensor:
    """bool [B]: where a column has no value."""
    if isinstance(values, torch.Tensor):
        return values.isnan()
    return torch.from_numpy(values.is_null().to_numpy(zero_copy_only=False).copy())


def _value(declared: specs.Impute, values: Values) -> float | str:
    if declared.value is not None:
        return _constant(declared.value, values)
    present = as_array(values).drop_null()
    if not len(present):
        raise CannotFit("has no value in the training rows")
    if declared.strategy == "mode":
        return _mode(present)
    with np.errstate(over="ignore"):  # told below
        value = _STRATEGIES[declared.strategy](present.to_numpy())
    if not np.isfinite(value):
        raise CannotFit("holds values that are too large: sums of them are beyond a double's range")
    return value


def _constant(value: specs.Label, values: Values) -> float | str:
    is_text = not isinstance(values, torch.Tensor)
    if isinstance(value, str) != is_text:
        kind = "text" if is_text else "numbers"
        raise CannotFit(f"holds {kind}, and {shown(value)} is none")
    return value if isinstance(value, str) else float(value)


def _mode(present: pa.Array) -> float | str:
    """The most frequent value; of several equally frequent ones the smallest."""
    counts = Counter({each["values"]: each["counts"] for each in pc.value_counts(present).to_pylist()})
    most = max(counts.values())
    smallest: float | str = min(value for value, count in counts.items() if count == most)
    return smallest


_STRATEGIES: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean": lambda present: float(present.mean()),
    "median": lambda present: float(np.median(present)),
}
