"""Models with several inputs: groups of columns or named tensors, matched by name."""

from typing import Any

import pytest
import torch

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.sources.json import read_json
from tests.support.encoded import encoded_inputs
from tests.support.field_errors import refusal
from tests.support.thermometer import declared

COLUMNS = {"a": [0.5, 1.0, 1.5], "b": [1, 2, 3], "item": [0, 2, 1], "y": [1.0, 2.0, 3.0]}
GROUPS = {"user": ["a", "b"], "item": ["item"]}


def prepared(section: dict[str, Any], *names: str) -> Prepared:
    section = {"targets": ["y"], "split": {"shuffle": False}, **section}
    return prepare(JobDatasets(read_json(section, "#/data")), declared(**section), "values", names or None)


def grouped(**changes: Any) -> dict[str, Any]:
    return {"columns": COLUMNS, "feature_groups": GROUPS, "dtypes": {"item": "int64"}, **changes}


def test_groups_come_in_the_order_of_the_model() -> None:
    """Inputs follow the order of the model's input names, not the order in the request."""
    item, user = prepared(grouped(), "item", "user").train.inputs
    assert (item.dtype, item.tolist()) == (torch.int64, [[0], [2], [1]])
    assert (user.dtype, user.tolist()) == (torch.float32, [[0.5, 1], [1, 2], [1.5, 3]])


@pytest.mark.parametrize(
    "body",
    [
        {"columns": {"item": [1], "b": [4], "a": [3.0], "other": ["x"]}},
        {"rows": [{"a": 3.0, "b": 4, "item": 1}]},
        {"inputs": {"user": [[3.0, 4]], "item": [[1]]}},
    ],
    ids=("columns", "rows", "inputs"),
)
def test_predictions_accept_the_same_names(body: dict[str, Any]) -> None:
    """A restored encoding accepts columns by name and raw rows by the names of the inputs."""
    encoding = prepared(grouped(), "item", "user").encoding
    stored = Encoding.from_document(encoding.to_document())
    assert stored == encoding
    item, user = encoded_inputs(stored, body)
    assert (item.tolist(), user.tolist()) == ([[1]], [[3.0, 4.0]])


def test_tensors_are_matched_by_name_and_keep_their_type() -> None:
    """Named tensors are ordered as the model's inputs, each with its declared dtype."""
    section = {
        "inputs": {"x": [[0.5], [1.5]], "tokens": [[1, 2], [3, 4]]},
        "dtypes": {"tokens": "int64"},
        "targets": [[1.0], [2.0]],
    }
    tokens, x = prepared(section, "tokens", "x").train.inputs
    assert (tokens.dtype, x.dtype) == (torch.int64, torch.float32)


def test_a_single_input_may_have_any_name() -> None:
    """The data's single unnamed input is used for the model's input `tokens`."""
    section = {"inputs": [[1, 2], [3, 4]], "dtypes": {"tokens": "int64"}, "targets": [[1.0], [2.0]]}
    (tokens,) = prepared(section, "tokens").train.inputs
    assert tokens.dtype == torch.int64


@pytest.mark.parametrize(
    ("section", "names", "expected"),
    [
        (
            {"columns": COLUMNS, "features": ["a"]},
            ("item", "user"),
            {
                "#/data/features": "The architecture has the inputs item, user; "
                "name them in `feature_groups` or `inputs`."
            },
        ),
        (
            grouped(),
            ("item", "usr"),
            {"#/data/feature_groups": "The architecture has the inputs item, usr; the data has user, item."},
        ),
        (
            grouped(),
            ("input",),
            {"#/data/feature_groups": "The architecture has one input, but the data has 2: user, item."},
        ),
        (
            grouped(dtypes={"itme": "int64"}),
            ("item", "user"),
            {"#/data/dtypes/itme": "There is no input `itme`: did you mean `item`?"},
        ),
        (
            grouped(dtypes={"user": "int64"}),
            ("item", "user"),
            {
                "#/data/feature_groups/user/0": "`a` in row 0 is not an integer, "
                "and the dtype of the input is int64. The same is wrong in row 2."
            },
        ),
        (
            grouped(feature_groups={"user": ["a", "bb"], "item": ["a"]}),
            ("item", "user"),
            {
                "#/data/feature_groups/user/1": "There is no column `bb`: did you mean `b`?",
                "#/data/feature_groups/item/0": "`a` is already used at "
                "#/data/feature_groups/user/0; use it once.",
            },
        ),
        (
            {"inputs": {"x": [[0.5]]}, "dtypes": {"x": "int64"}, "targets": [[1.0]]},
            ("x",),
            {"#/data/inputs/x": "`x` in row 0 is not an integer, and the dtype of the input is int64."},
        ),
    ],
)
def test_names_and_types_that_do_not_fit_are_reported(
    section: dict[str, Any], names: tuple[str, ...], expected: dict[str, str]
) -> None:
    """Each error has the pointer of the declaration that does not fit."""
    assert refusal(lambda: prepared(section, *names)) == expected


def test_features_and_groups_exclude_each_other() -> None:
    """Exactly one of `features` and `feature_groups` is required."""
    for section in (grouped(features=["a"]), {"columns": COLUMNS}):
        with pytest.raises(ValueError, match="Give `features`, or `feature_groups`"):
            declared(targets=["y"], **section)
