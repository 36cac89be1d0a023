"""Numbers of JSON in specs."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.specs.job import JobRequest
from tests.support.documents import changed

BODY = {
    "data": {
        "columns": {"x": [0, 1], "y": [1, 3]},
        "features": ["x"],
        "targets": ["y"],
        "transforms": [{"columns": ["x"], "type": "hash", "buckets": 8}],
        "split": {},
    },
    "architecture": {
        "type": "module",
        "parameters": {"scale": {"shape": [1, 2], "init": "ones_"}},
        "forward": "return x",
    },
    "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 3, "seed": 0, "batch_size": 2},
}


@pytest.mark.parametrize(
    ("pointer", "value", "read"),
    [
        ("#/training/epochs", 3.0, 3),
        ("#/training/seed", 0.0, 0),
        ("#/training/batch_size", 2e0, 2),
        ("#/priority", -1.0, -1),
        ("#/data/transforms/0/buckets", 8.0, 8),
        ("#/data/split/validation_rows", [0.0, 1], [0, 1]),
        ("#/data/split/validation", 1.0, 1),
        ("#/architecture/parameters/scale/shape/0", 1.0, 1),
    ],
)
def test_a_whole_number_is_an_integer(pointer: str, value: Any, read: Any) -> None:
    """A float without a fraction is accepted as an integer wherever one is expected."""
    request = JobRequest.model_validate(changed(BODY, pointer, value))
    assert request == JobRequest.model_validate(changed(BODY, pointer, read))
    assert str(request) == str(JobRequest.model_validate(changed(BODY, pointer, read)))  # 3 == 3.0


@pytest.mark.parametrize("value", [2.5, "3", True, None, 1e300])
def test_other_values_are_no_integers(value: Any) -> None:
    """A fraction, a text, a boolean, null and a number beyond the range are refused."""
    with pytest.raises(ValidationError):
        JobRequest.model_validate(changed(BODY, "#/training/epochs", value))


def test_the_body_of_a_request_is_not_changed() -> None:
    """Reading a whole number as an integer leaves the parsed request as it was sent."""
    body = changed(BODY, "#/training/epochs", 3.0)
    JobRequest.model_validate(body)
    assert isinstance(body["training"]["epochs"], float)
