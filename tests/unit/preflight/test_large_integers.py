"""Integers beyond 64 bits in a job request."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest

from service.architectures.layers import LAYERS
from service.architectures.parameters import INITS
from service.errors import InvalidRequest
from service.helper.request_bodies import parse_json
from service.preflight.result import PreflightResult
from service.specs.job import JobRequest
from service.specs.upload import ReadOptions
from service.training.losses import LOSSES
from service.training.metrics import METRICS
from service.training.optimizers import OPTIMIZERS
from service.training.schedulers import SCHEDULERS
from tests.support.documents import changed
from tests.support.field_errors import refusal

BODY: dict[str, Any] = {
    "data": {
        "columns": {"x": [0, 1, 2, 3], "c": [0, 1, 0, 1], "y": [1, 3, 5, 7]},
        "features": ["x", "c"],
        "targets": ["y"],
        "transforms": [
            {"type": "hash", "columns": ["c"], "buckets": 8},
            {"type": "impute", "columns": ["x"], "strategy": "constant", "value": 0},
        ],
        "split": {"validation": 1},
    },
    "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
    "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 3, "seed": 0, "early_stopping": {}},
}
POINTERS = (
    "#/priority",
    *(f"#/data/split/{name}" for name in ("validation", "test", "seed")),
    "#/data/reading",
    "#/data/classes",
    "#/data/transforms/0/buckets",
    "#/data/transforms/1/value",
    "#/architecture/layers/0/out_features",
    *(f"#/training/{name}" for name in ("epochs", "batch_size", "seed", "checkpoint_every", "scheduler")),
    "#/training/early_stopping/patience",
    "#/training/optimizer",
)
# Fields in which a number stands inside of an object or a list.
WITHIN: dict[str, Callable[[Any], list[Any]]] = {
    "#/data/reading": lambda number: [{"skip_lines": number}, {"missing": [number]}],
    "#/data/classes": lambda number: [[0, number]],
    "#/training/scheduler": lambda number: [
        {"type": "StepLR", "step_size": number},
        {"type": "MultiStepLR", "milestones": [number]},
        {"type": "CosineAnnealingLR", "T_max": number},
        {"type": "OneCycleLR", "max_lr": 1, "total_steps": number},
        {"type": "ReduceLROnPlateau", "patience": number},
    ],
    "#/training/optimizer": lambda number: [
        {"type": "LBFGS", "max_iter": number},
        {"type": "ASGD", "t0": number},
        {"type": "SGD", "lr": number},
    ],
}


@pytest.mark.parametrize(
    "number", ["9223372036854775807", "9223372036854775808", str(2**64), str(2**70), "1e30", str(-(2**70))]
)
def test_a_large_integer_is_accepted_or_refused(plan: Callable[[Any], PreflightResult], number: str) -> None:
    """Wherever a number stands, the request is planned, and the plan can be stored, or it is not valid."""
    plan(BODY)
    sent = parse_json(number.encode())
    for pointer in POINTERS:
        for value in WITHIN.get(pointer, lambda number: [number])(sent):
            with suppress(InvalidRequest):
                orjson.dumps(plan(changed(BODY, pointer, value)).request)


@pytest.mark.parametrize("number", [2**63, 1e30, float(2**70)])
def test_the_bound_is_named(plan: Callable[[Any], PreflightResult], number: float) -> None:
    """The error of an integer beyond 64 bits has its bound, also of an argument and in a list."""
    scheduler = {"type": "MultiStepLR", "milestones": [1, number]}
    for pointer, value, at in (
        ("#/training/batch_size", number, ""),
        ("#/training/early_stopping/patience", number, ""),
        ("#/training/scheduler", scheduler, "/milestones/1"),
    ):
        document = changed(BODY, pointer, value)
        found = refusal(lambda document=document: plan(document))
        assert found == {pointer + at: "Should be less than 9223372036854775808."}


def _unbounded(schema: Any, path: str) -> list[str]:
    """The paths of the integers in a JSON schema that have no maximum."""
    if isinstance(schema, list):
        return [found for i, each in enumerate(schema) for found in _unbounded(each, f"{path}/{i}")]
    if not isinstance(schema, dict):
        return []
    bounds = {"maximum", "exclusiveMaximum", "enum", "const"}
    here = [path] if schema.get("type") == "integer" and not bounds & schema.keys() else []
    return here + [found for name, each in schema.items() for found in _unbounded(each, f"{path}/{name}")]


def test_every_integer_has_a_maximum() -> None:
    """No integer of a request, and none of an argument of PyTorch, is without bound."""
    schemas = {spec.__name__: spec.model_json_schema() for spec in (JobRequest, ReadOptions)}
    constructors = {**LAYERS, **INITS, **OPTIMIZERS, **SCHEDULERS}
    constructors |= {name: loss.constructor for name, loss in LOSSES.items()}
    constructors |= {
        f"{name}/{task}": each for name, m in METRICS.items() for task, each in m.classes.items()
    }
    schemas |= {name: constructor.json_schema() for name, constructor in constructors.items()}
    assert [path for name, schema in schemas.items() for path in _unbounded(schema, name)] == []
