"""Parts of dates and times as numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from service.datasets.timestamps import parse_time
from service.datasets.transforms.fitted import FittedTransform, ValueRange, Values
from service.datasets.validation import Cells
from service.specs import transforms as specs

MICROSECONDS_PER_DAY = 86_400_000_000
_SATURDAY = 5

Numbers = NDArray[np.float64]
"""A number for each time, [B]."""


class _Part(NamedTuple):
    """A part of a datetime.

    Attributes:
        of: Computes it from times without nulls.
        low: Its smallest value.
        high: Its largest value; None if unlimited.
        period: Computes the number of values until it repeats; None if it does not repeat.
    """

    of: Callable[[pa.Array], Numbers]
    low: int
    high: int | None
    period: Callable[[pa.Array], Numbers | float] | None = None


def _by_arrow(function: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array], Numbers]:
    def compute(times: pa.Array) -> Numbers:
        values: Numbers = function(times).to_numpy(zero_copy_only=False).astype(np.float64)
        return values

    return compute


_year, _month, _day = _by_arrow(pc.year), _by_arrow(pc.month), _by_arrow(pc.day)


def _days_in_year(times: pa.Array) -> Numbers:
    year = _year(times)
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return np.where(is_leap, 366.0, 365.0)


def _days_in_month(times: pa.Array) -> Numbers:
    first = times.to_numpy(zero_copy_only=False).astype("datetime64[M]")
    following = (first + 1).astype("datetime64[D]")
    days: Numbers = (following - first.astype("datetime64[D]")).astype(np.float64)
    return days


def _weeks_in_year(times: pa.Array) -> Numbers:
    """Number of weeks of the ISO 8601 year: 53 if its 1 January or its 31 December is a Thursday."""
    year = _by_arrow(pc.iso_year)(times)

    def weekday_of_last_day(year: Numbers) -> Numbers:  # 0 is Sunday
        days: Numbers = (year + year // 4 - year // 100 + year // 400) % 7
        return days

    is_long = (weekday_of_last_day(year) == 4) | (weekday_of_last_day(year - 1) == 3)
    return np.where(is_long, 53.0, 52.0)


_weekday = _by_arrow(pc.day_of_week)  # 0 is Monday
_PARTS: Mapping[str, _Part] = {
    "year": _Part(_year, 1, None),
    "quarter": _Part(_by_arrow(pc.quarter), 1, 4, lambda times: 4),
    "month": _Part(_month, 1, 12, lambda times: 12),
    "week": _Part(_by_arrow(pc.iso_week), 1, 53, _weeks_in_year),
    "day": _Part(_day, 1, 31, _days_in_month),
    "day_of_year": _Part(_by_arrow(pc.day_of_year), 1, 366, _days_in_year),
    "weekday": _Part(_weekday, 0, 6, lambda times: 7),
    "hour": _Part(_by_arrow(pc.hour), 0, 23, lambda times: 24),
    "minute": _Part(_by_arrow(pc.minute), 0, 59, lambda times: 60),
    "second": _Part(_by_arrow(pc.second), 0, 59, lambda times: 60),
    "is_weekend": _Part(lambda times: (_weekday(times) >= _SATURDAY).astype(np.float64), 0, 1),
    "is_month_start": _Part(lambda times: (_day(times) == 1).astype(np.float64), 0, 1),
    "is_month_end": _Part(lambda times: (_day(times) == _days_in_month(times)).astype(np.float64), 0, 1),
}


@dataclass(frozen=True)
class FittedDateParts(FittedTransform):
    """Parts of a datetime in UTC, and days since a time.

    Attributes:
        parts: Names of the parts, in order.
        cyclic: Whether a part that repeats becomes sin and cos of 2π · part / period, as in scikit-learn's
            example "Time-related feature engineering".
        since: Time of ISO 8601 from which days are counted; None for no such column.
    """

    type: ClassVar[str] = "date_parts"
    parts: tuple[str, ...]
    cyclic: bool
    since: str | None

    @classmethod
    def fit(cls, declared: specs.DateParts, column: str, values: Values) -> Self:
        return cls(column, tuple(declared.parts), declared.cyclic, declared.since)

    def apply(self, values: Values, cells: Cells) -> Values:
        """Compute the columns, float64 [B] for one and [B, k] for several; NaN for a missing time."""
        assert isinstance(values, pa.Array)
        missing = torch.from_numpy(values.is_null().to_numpy(zero_copy_only=False).copy())  # bool [B]
        cells.add_errors(missing, lambda _: "is missing, and no `impute` before the date_parts fills it")
        times = values.fill_null(0)
        columns = [column for part in self.parts for column in self._columns(_PARTS[part], times)]
        if self.since is not None:
            columns.append(_days_since(times, self.since))
        encoded = torch.from_numpy(np.stack(columns, axis=1))  # [B, k]
        encoded[missing] = math.nan
        return encoded[:, 0] if len(columns) == 1 else encoded

    def _columns(self, part: _Part, times: pa.Array) -> list[Numbers]:
        values = part.of(times)
        if not self.cyclic or part.period is None:
            return [values]
        angle = 2 * np.pi * values / part.period(times)
        return [np.sin(angle), np.cos(angle)]

    def titles(self) -> list[str]:
        titles = []
        for part in self.parts:
            suffixes = ("_sin", "_cos") if self._is_cyclic(part) else ("",)
            titles += [f"{self.column}_{part}{suffix}" for suffix in suffixes]
        return titles if self.since is None else [*titles, f"{self.column}_days"]

    def ranges(self) -> list[ValueRange | None]:
        ranges: list[ValueRange | None] = []
        for name in self.parts:
            part = _PARTS[name]
            if self._is_cyclic(name):
                ranges += [None, None]
            elif part.high is None:
                ranges.append(None)
            else:
                reason = f"has a `{name}` from {part.low} to {part.high}"
                ranges.append(ValueRange(part.low, part.high, reason))
        return ranges if self.since is None else [*ranges, None]

    def _is_cyclic(self, part: str) -> bool:
        return self.cyclic and _PARTS[part].period is not None


def _days_since(times: pa.Array, since: str) -> Numbers:
    """Days elapsed since a time, with fractions; the difference is exact in microseconds."""
    start = pa.scalar(parse_time(since), times.type).cast(pa.int64()).as_py()
    microseconds = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    days: Numbers = (microseconds - start) / MICROSECONDS_PER_DAY
    return days
