"""Several inputs: groups of columns or named tensors, matched to the model's inputs by name."""

from typing import Any

import pytest
import torch

from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared, Sources, prepare
from service.datasets.sources.json import read_json
from tests.support.encoded import encoded_inputs
from tests.support.field_errors import refusal
from tests.support.thermometer import declared

COLUMNS = {"a": [0.5, 1.0, 1.5], "b": [1, 2, 3], "item": [0, 2, 1], "y": [1.0, 2.0, 3.0]}
GROUPS = {"user": ["a", "b"], "item": ["item"]}


def prepared(section: dict[str, Any], *names: str) -> Prepared:
    section = {"targets": ["y"], "split": {"shuffle": False}, **section}
    return prepare(Sources(read_json(section, "#/data")), declared(**section), "values", names or None)


def grouped(**changes: Any) -> dict[str, Any]:
    return {"columns": COLUMNS, "feature_groups": GROUPS, "dtypes": {"item": "int64"}, **changes}


def test_groups_come_in_the_order_of_the_model() -> None:
    """The names decide, not the order in which they were written."""
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
def test_predictions_take_the_same_names(body: dict[str, Any]) -> None:
    """Columns by name, or raw rows by the inputs' names; also after the encoding was stored."""
    encoding = prepared(grouped(), "item", "user").encoding
    stored = Encoding.from_document(encoding.to_document())
    assert stored == encoding
    item, user = encoded_inputs(stored, body)
    assert (item.tolist(), user.tolist()) == ([[1]], [[3.0, 4.0]])


def test_tensors_are_matched_by_name_and_keep_their_type() -> None:
    """An object of nested lists, with the type of each."""
    section = {
        "inputs": {"x": [[0.5], [1.5]], "tokens": [[1, 2], [3, 4]]},
        "dtypes": {"tokens": "int64"},
        "targets": [[1.0], [2.0]],
    }
    tokens, x = prepared(section, "tokens", "x").train.inputs
    assert (tokens.dtype, x.dtype) == (torch.int64, torch.float32)


def test_a_single_input_may_have_any_name() -> None:
    """The data's unnamed input is what the model calls `tokens`."""
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
                "#/data/features": "The architecture takes item, user: give `feature_groups`, "
                "or `inputs` by these names."
            },
        ),
        (
            grouped(),
            ("item", "usr"),
            {"#/data/feature_groups": "The architecture takes item, usr; these are called user, item."},
        ),
        (
            grouped(),
            ("input",),
            {"#/data/feature_groups": "The architecture takes one input, and these are 2: user, item."},
        ),
        (
            grouped(dtypes={"itme": "int64"}),
            ("item", "user"),
            {"#/data/dtypes/itme": "There is no input `itme`: did you mean `item`?"},
        ),
        (
            grouped(dtypes={"user": "int64"}),
            ("item", "user"),
            {"#/data/feature_groups/user/0": "`a` in row 2 is no whole number, and int64 is asked for."},
        ),
        (
            grouped(feature_groups={"user": ["a", "bb"], "item": ["a"]}),
            ("item", "user"),
            {
                "#/data/feature_groups/user/1": "There is no column `bb`: did you mean `b`?",
                "#/data/feature_groups/item/0": "`a` is named already, at #/data/feature_groups/user/0.",
            },
        ),
        (
            {"inputs": {"x": [[0.5]]}, "dtypes": {"x": "int64"}, "targets": [[1.0]]},
            ("x",),
            {"#/data/inputs/x": "`x` in row 0 is no whole number, and int64 is asked for."},
        ),
    ],
)
def test_names_and_types_that_do_not_fit_are_told(
    section: dict[str, Any], names: tuple[str, ...], expected: dict[str, str]
) -> None:
    """At the place where they were declared."""
    assert refusal(lambda: prepared(section, *names)) == expected


def test_features_and_groups_exclude_each_other() -> None:
    """One of them is required."""
    for section in (grouped(features=["a"]), {"columns": COLUMNS}):
        with pytest.raises(ValueError, match="Give `features`, or `feature_groups`"):
            declared(targets=["y"], **section)
