from typing import Any

import pytest
import torch

from service.datasets.prepare.split_keys import rule_key
from service.datasets.sources.json import read_json
from service.datasets.validation import ErrorCollector
from service.specs.reading import CellOptions
from service.specs.split import Split
from tests.support.field_errors import error_details

DATASET = read_json(
    {
        "columns": {
            "word": ["b", "a", None, "b"],
            "day": ["2024-01-02", "2024-01-01", "2024-01-03", "soon"],
            "number": [3.0, 1.5, 2.0, 1.5],
            "set": ["train", "test", "validation", "other"],
        }
    }
)


def key_of(rows: list[int], errors: ErrorCollector | None = None, **rule: str) -> torch.Tensor | None:
    size: dict[str, Any] = {} if "column" in rule else {"validation": 1}
    return rule_key(
        Split(**size, **rule),
        DATASET,
        CellOptions(),
        torch.tensor(rows),
        ErrorCollector() if errors is None else errors,
    )


@pytest.mark.parametrize(
    ("rule", "rows", "expected"),
    [
        ({"stratify": "word"}, [0, 1, 3], [1, 0, 1]),
        ({"group": "number"}, [0, 1, 2, 3], [2, 0, 1, 0]),
        ({"time": "number"}, [0, 1], [3.0, 1.5]),
        ({"time": "day"}, [0, 1], [1704153600000000, 1704067200000000]),
        ({"column": "set"}, [0, 1, 2], [0, 2, 1]),
    ],
)
def test_a_rule_divides_by_numbers(rule: dict[str, str], rows: list[int], expected: list[float]) -> None:
    """Values become ordered codes, times microseconds, and splits their indices, for the kept rows only."""
    key = key_of(rows, **rule)
    assert key is not None
    assert key.tolist() == expected


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"stratify": "wort"}, "did you mean `word`?"),
        ({"group": "word"}, "`word` in row 2 is missing, and `group` needs a value in every row"),
        ({"time": "day"}, '`day` in row 3: "soon"'),
        ({"column": "set"}, '`set` in row 3 is "other"; the allowed values are train, validation, test'),
    ],
)
def test_columns_that_cannot_divide_are_reported(rule: dict[str, str], words: str) -> None:
    """An unknown column, a missing value or an invalid value is reported at the pointer of the rule."""
    errors = ErrorCollector()
    assert key_of([0, 1, 2, 3], errors, **rule) is None
    assert words in error_details(errors)[f"#/data/split/{next(iter(rule))}"]
