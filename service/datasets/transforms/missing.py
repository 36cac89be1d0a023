"""Imputation of missing values."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.sources.columns import DATETIME
from service.datasets.timestamps import parse_time, rfc3339
from service.datasets.transforms.fitted import CannotFit, FittedTransform, Values, as_array
from service.datasets.validation import Cells, quote_value
from service.specs import transforms as specs


@dataclass(frozen=True)
class FittedImpute(FittedTransform):
    """Replace missing values by a constant.

    Attributes:
        value: A string for text, a time by RFC 3339 for times, otherwise a number.
        indicator: Whether to add a column that is 1 where the value was missing, and otherwise 0.
    """

    type: ClassVar[str] = "impute"
    value: float | str
    indicator: bool

    @classmethod
    def fit(cls, declared: specs.Impute, column: str, values: Values) -> Self:
        return cls(column, _fill_value(declared, values), declared.indicator)

    def apply(self, values: Values, cells: Cells) -> Values:
        if isinstance(values, torch.Tensor):
            return torch.where(values.isnan(), float(self.value), values.double())
        if values.type == DATETIME:
            return values.fill_null(pa.scalar(parse_time(str(self.value)), DATETIME))
        return values.fill_null(self.value)


def has_indicator(transform: FittedTransform) -> bool:
    """Return whether a transform adds an indicator column of missing values."""
    return isinstance(transform, FittedImpute) and transform.indicator


def is_missing(values: Values) -> torch.Tensor:
    """Find missing values, bool [B]."""
    if isinstance(values, torch.Tensor):
        return values.isnan()
    return torch.from_numpy(values.is_null().to_numpy(zero_copy_only=False).copy())


def _fill_value(declared: specs.Impute, values: Values) -> float | str:
    if declared.value is not None:
        return _constant(declared.value, values)
    present = as_array(values).drop_null()
    if not len(present):
        raise CannotFit("has no value in the training rows")
    if declared.strategy == "mode":
        return _to_json(_mode(present))
    if present.type == DATETIME:
        microseconds = _STRATEGIES[declared.strategy](present.cast(pa.int64()).to_numpy())
        return _to_json(pa.scalar(round(microseconds), pa.int64()).cast(DATETIME).as_py())
    with np.errstate(over="ignore"):  # an overflow is reported below
        value = _STRATEGIES[declared.strategy](present.to_numpy())
    if not np.isfinite(value):
        raise CannotFit("holds values that are too large: their sum exceeds the range of float64")
    return value


def _constant(value: specs.Label, values: Values) -> float | str:
    if isinstance(values, pa.Array) and values.type == DATETIME:
        try:
            return _to_json(parse_time(str(value)))
        except ValueError:
            expected = "a time such as 2020-01-01 or 2020-01-01T00:00:00Z"
            raise CannotFit(
                f"holds datetimes, so `value` must be {expected}; found {quote_value(value)}"
            ) from None
    is_text = not isinstance(values, torch.Tensor)
    if isinstance(value, str) != is_text:
        content, expected = ("text", "a string") if is_text else ("numbers", "a number or a boolean")
        raise CannotFit(f"holds {content}, so `value` must be {expected}; found {quote_value(value)}")
    return value if isinstance(value, str) else float(value)


def _to_json(value: float | str | datetime) -> float | str:
    return f"{rfc3339(value)}" if isinstance(value, datetime) else value


def _mode(present: pa.Array) -> float | str | datetime:
    """Return the most frequent value; the smallest, if several are equally frequent."""
    counts = Counter({each["values"]: each["counts"] for each in pc.value_counts(present).to_pylist()})
    most = max(counts.values())
    smallest: float | str | datetime = min(value for value, count in counts.items() if count == most)
    return smallest


_STRATEGIES: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean": lambda present: float(present.mean()),
    "median": lambda present: float(np.median(present)),
}
