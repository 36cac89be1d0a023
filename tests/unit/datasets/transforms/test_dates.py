import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.sources.columns import DATETIME
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import numbers
from service.datasets.transforms.registry import from_document
from service.datasets.validation import Cells, ErrorCollector
from service.specs.transforms import DateParts, Impute, MinMax, OneHot, Standardize, Transform
from tests.support.columns import applied, fitted
from tests.support.field_errors import refusal

WHEN = [datetime(2024, 2, 29, 23, 59, 58), datetime(2026, 11, 30, 7, 5), datetime(2020, 12, 31)]
NUMBERED = ["year", "quarter", "month", "day", "day_of_year", "weekday", "hour", "minute", "second"]
PERIODS: dict[str, Any] = {
    "quarter": lambda times: 4,
    "month": lambda times: 12,
    "week": lambda times: [pd.Timestamp(f"{year}-12-28").week for year in times.isocalendar().year],
    "day": lambda times: times.days_in_month,
    "day_of_year": lambda times: 365 + times.is_leap_year,
    "weekday": lambda times: 7,
    "hour": lambda times: 24,
    "minute": lambda times: 60,
    "second": lambda times: 60,
}
ANY_TIME = st.datetimes(datetime(1678, 1, 1), datetime(2262, 1, 1))  # the range of pandas' nanoseconds


def times(values: list[datetime | None]) -> pa.Array:
    return pa.array(values, DATETIME)


def date_parts(*parts: str, **arguments: Any) -> DateParts:
    return DateParts(type="date_parts", columns=["a"], parts=list(parts), **arguments)


def parts_of(values: list[datetime], *transforms: Transform) -> dict[str, list[float]]:
    """Apply transforms; return the resulting columns by name."""
    chain = fitted(times(values), *transforms)
    rows = np.array(applied(chain, times(values))).reshape(len(values), -1)
    return dict(zip(pipeline.titles("a", chain), rows.T.tolist(), strict=True))


@given(st.lists(ANY_TIME, min_size=1, max_size=20))
def test_parts_are_those_of_pandas(values: list[datetime]) -> None:
    """Each part equals that of pandas, for any time."""
    found = parts_of(values, date_parts(*NUMBERED, "week", "is_weekend", "is_month_start", "is_month_end"))
    series = pd.Series(values)
    same = [part for part in NUMBERED if part != "weekday"]
    expected = {part: getattr(series.dt, part) for part in [*same, "is_month_start", "is_month_end"]}
    expected["week"] = series.dt.isocalendar().week
    expected["weekday"] = series.dt.day_of_week  # pandas 3 deprecates its `weekday`
    expected["is_weekend"] = series.dt.day_of_week >= 5
    assert {f"a_{part}": column.astype(float).tolist() for part, column in expected.items()} == found


@given(st.lists(ANY_TIME, min_size=1, max_size=20))
def test_cyclic_parts_are_sine_and_cosine_with_their_period(values: list[datetime]) -> None:
    """A part that repeats becomes sin and cos of 2π · part / period, also of days and weeks."""
    found = parts_of(values, date_parts(*PERIODS, cyclic=True))
    index = pd.DatetimeIndex(values)
    for part, period in PERIODS.items():
        name = {"weekday": "day_of_week"}.get(part, part)
        value = index.isocalendar().week if part == "week" else getattr(index, name)
        angle = 2 * np.pi * np.asarray(value, float) / np.asarray(period(index), float)
        np.testing.assert_allclose(found[f"a_{part}_sin"], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(found[f"a_{part}_cos"], np.cos(angle), atol=1e-6)


def test_parts_that_do_not_repeat_stay_as_they_are() -> None:
    """`year` and the parts of 0 and 1 are not changed by `cyclic`."""
    found = parts_of(WHEN, date_parts("year", "is_weekend", "hour", cyclic=True))
    assert list(found) == ["a_year", "a_is_weekend", "a_hour_sin", "a_hour_cos"]
    assert found["a_year"] == [2024.0, 2026.0, 2020.0]


def test_since_counts_days_with_fractions() -> None:
    """`since` adds the days elapsed since a time in UTC, negative before it."""
    values = [datetime(2020, 1, 1), datetime(2020, 1, 2, 12), datetime(2019, 12, 31)]
    assert parts_of(values, date_parts(since="2020-01-01")) == {"a_days": [0.0, 1.5, -1.0]}
    shifted = parts_of(values, date_parts("year", since="2020-01-01T06:00:00+06:00"))
    assert list(shifted) == ["a_year", "a_days"]
    assert shifted["a_days"] == [0.0, 1.5, -1.0]


def test_days_are_exact_to_the_microsecond() -> None:
    """The difference is computed in microseconds, before it becomes a float."""
    (chain,) = fitted(times(WHEN), date_parts(since="2020-12-31"))
    cells = Cells("a", "#/a", ErrorCollector(), range(1))
    (days,) = numbers(chain.apply(times([WHEN[2] + timedelta(microseconds=1)]), cells)).tolist()
    assert days == 1 / 86_400_000_000


def test_numeric_transforms_apply_to_each_part() -> None:
    """Constants after `date_parts` are fitted for each resulting column, and keep the titles."""
    parts = date_parts("year", "month", since="2020-01-01")
    raw = parts_of(WHEN, parts)
    found = parts_of(WHEN, parts, Standardize(type="standardize", columns=["a"]))
    assert list(found) == list(raw) == ["a_year", "a_month", "a_days"]
    for title, values in raw.items():
        expected = (np.array(values) - np.mean(values)) / np.std(values)
        np.testing.assert_allclose(found[title], expected, rtol=1e-6)
    scaled = parts_of([WHEN[0]] * 2, parts, MinMax(type="minmax", columns=["a"]))
    assert set(map(tuple, scaled.values())) == {(0.0, 0.0)}


def test_one_part_is_a_column_like_any_other() -> None:
    """A single part can become categories."""
    found = parts_of(WHEN, date_parts("quarter"), OneHot(type="one_hot", columns=["a"]))
    assert found == {"a=1": [1.0, 0.0, 0.0], "a=4": [0.0, 1.0, 1.0]}


def test_ranges_are_those_of_all_times() -> None:
    """The range of a part does not depend on the data; cyclic parts, years and days have none."""
    (chain,) = fitted(times(WHEN), date_parts("month", "year", since="2020-01-01"))
    assert [each and (each.low, each.high) for each in chain.ranges()] == [(1, 12), None, None]
    (chain,) = fitted(times(WHEN), date_parts("month", cyclic=True))
    assert chain.ranges() == [None, None]


def test_missing_times_are_errors_unless_imputed() -> None:
    """A missing time has a remedy that works: an `impute` before."""
    values = times([WHEN[0], None])
    refused = refusal(lambda: applied(fitted(times(WHEN), date_parts("day")), values))
    assert refused["#/a"] == "`a` in row 1 is missing, and no `impute` before the date_parts fills it."
    impute = Impute(type="impute", columns=["a"], strategy="mode", indicator=True)
    chain = fitted(values, impute, date_parts("day", "month"))
    assert applied(chain, values) == [[29.0, 2.0, 0.0], [29.0, 2.0, 1.0]]
    assert pipeline.titles("a", chain) == ["a_day", "a_month", "a_missing"]


@pytest.mark.parametrize(
    ("strategy", "value", "expected"),
    [
        ("mean", None, datetime(2020, 1, 3)),
        ("median", None, datetime(2020, 1, 2)),
        ("mode", None, datetime(2020, 1, 2)),
        ("constant", "2021-05-06T01:00:00+01:00", datetime(2021, 5, 6)),
    ],
)
def test_times_are_imputed(strategy: Any, value: str | None, expected: datetime) -> None:
    """Mean, median, mode and a constant fill missing times, and the constant survives JSON."""
    days = [datetime(2020, 1, 1), datetime(2020, 1, 2), datetime(2020, 1, 2), datetime(2020, 1, 7), None]
    impute = Impute(type="impute", columns=["a"], strategy=strategy, value=value)
    chain = fitted(times(days), impute, date_parts("year", "month", "day"))
    assert applied(chain, times([None])) == [[expected.year, expected.month, expected.day]]
    assert [from_document(json.loads(json.dumps(each.to_document()))) for each in chain] == chain


def test_a_constant_that_is_no_time_is_refused() -> None:
    """The constant of a datetime must be a time."""
    impute = Impute(type="impute", columns=["a"], strategy="constant", value="soon")
    assert "must be a time such as 2020-01-01" in refusal(lambda: fitted(times(WHEN), impute))["#/step"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "Give `parts`, `since` or both"),
        ({"parts": ["day", "day"]}, "twice"),
        ({"parts": ["days"]}, "parts"),
        ({"since": "1 May"}, "2020-01-01"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    """There is at least one part, each is known and given once, and `since` is a time."""
    with pytest.raises(ValueError, match=words):
        DateParts(type="date_parts", columns=["a"], **arguments)


def test_fitted_parts_survive_json() -> None:
    """A fitted transform and joined constants are unchanged by serialization to JSON."""
    chain = fitted(
        times(WHEN),
        date_parts("year", "day", since="2020-01-01"),
        Standardize(type="standardize", columns=["a"]),
    )
    assert [from_document(json.loads(json.dumps(each.to_document()))) for each in chain] == chain
