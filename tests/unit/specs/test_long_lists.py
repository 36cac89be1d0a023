"""Long lists and objects of invalid values in a request."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.specs.base import field_errors
from service.specs.job import JobRequest

MANY = 20_000
JOB: dict[str, Any] = {
    "data": {"columns": {"x": [0], "y": [0]}, "features": ["x"], "targets": ["y"]},
    "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
    "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1},
}


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("data", "features", [[]] * MANY),
        ("data", "targets", [0] * MANY),
        ("data", "id", [None] * MANY),
        ("data", "types", {f"c{number}": 0 for number in range(MANY)}),
        ("data", "dtypes", {f"c{number}": "f" for number in range(MANY)}),
        ("data", "classes", [{}] * MANY),
        ("data", "split", {"test_rows": ["0"] * MANY}),
        ("data", "split", {"validation_rows": [0.5] * MANY}),
        ("data", "reading", {"ignore": [1] * MANY}),
        ("data", "transforms", [{"type": "clip", "min": 0, "columns": [0] * MANY}]),
        ("data", "transforms", [{"type": "one_hot", "columns": ["x"], "categories": [[]] * MANY}]),
        ("data", "transforms", [{"type": "date_parts", "columns": ["x"], "parts": [[]] * MANY}]),
        ("training", "class_weights", {f"c{number}": "1" for number in range(MANY)}),
        ("training", "metrics", [[]] * MANY),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_many_invalid_values_are_one_error(section: str, field: str, value: Any) -> None:
    """Pydantic would describe each of them, with a thousand times the memory of the request."""
    document = {**JOB, section: {**JOB[section], field: value}}
    with pytest.raises(ValidationError) as raised:
        JobRequest.model_validate(document)
    errors = field_errors(raised.value, document)
    assert errors.count <= 2
    assert errors[0].pointer.startswith(f"#/{section}/{field}")
    assert any(number in errors[0].detail for number in ("20,000", "20000"))


def test_few_invalid_values_have_an_error_each() -> None:
    """A hundred errors can be listed."""
    document = {**JOB, "data": {**JOB["data"], "split": {"test_rows": [0, "1", 2.0, 2.5, 2**63, True]}}}
    with pytest.raises(ValidationError) as raised:
        JobRequest.model_validate(document)
    pointers = [error.pointer for error in field_errors(raised.value, document)]
    assert pointers == [f"#/data/split/test_rows/{position}" for position in (1, 3, 4, 5)]
