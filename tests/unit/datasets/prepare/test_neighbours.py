from typing import Any

import pytest

from service.datasets.prepare.neighbours import neighbour_warning
from service.datasets.sources.json import read_json
from tests.support.thermometer import declared

DAYS = [f"2026-11-{day:02}" for day in range(1, 21)]
SHUFFLED = [DAYS[7 * row % 20] for row in range(20)]


def warning(split: dict[str, Any], **columns: list[Any]) -> str | None:
    """Return the text of the warning for a table of 20 rows."""
    section = {"columns": {"x": [7 * row % 20 for row in range(20)], **columns}, "split": split}
    data = declared(**section, features=["x"], targets=["x"])
    found = neighbour_warning(data, read_json(section))
    return None if found is None else found.detail


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("when", DAYS),
        ("when", DAYS[::-1]),
        ("when", [day for day in DAYS[:10] for _ in "ab"]),
        ("when", [DAYS[1], DAYS[0], *DAYS[2:]]),
        ("Time", [1949 + month / 12 for month in range(20)]),
    ],
)
def test_a_random_split_of_ordered_rows_is_warned_of(name: str, values: list[Any]) -> None:
    """Rows that are nearly in the order of time, and a random split, are a warning with a remedy."""
    found = warning({"validation": 0.2}, **{name: values})
    assert found is not None
    assert f'set `"time": "{name}"` in `split`' in found


@pytest.mark.parametrize(
    ("split", "columns"),
    [
        ({}, {"when": DAYS}),
        ({"validation": 0.2, "time": "when"}, {"when": DAYS}),
        ({"validation": 0.2, "shuffle": False}, {"when": DAYS}),
        ({"validation_rows": [18, 19]}, {"when": DAYS}),
        ({"validation": 0.2}, {"when": SHUFFLED}),
        ({"validation": 0.2}, {"when": [DAYS[0]] * 20}),
        ({"validation": 0.2}, {"size": list(range(20))}),
        ({"validation": 0.2}, {"name": [f"n{row:02}" for row in range(20)]}),
    ],
)
def test_other_splits_and_rows_are_not(split: dict[str, Any], columns: dict[str, list[Any]]) -> None:
    """There is no warning without a random split, without times, and for rows in another order."""
    assert warning(split, **columns) is None
