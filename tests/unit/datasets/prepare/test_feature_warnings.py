"""Warnings of features from which a model probably can't learn."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets.prepare.declaration import read_declaration
from service.datasets.prepare.feature_warnings import feature_warnings
from service.datasets.prepare.prepare import JobDatasets, prepare
from service.datasets.prepare.workspace import MetaWorkspace
from service.datasets.sources.json import read_json
from service.datasets.validation import ErrorCollector
from tests.support.thermometer import declared

MILLISECONDS = [1700000000000, 1700000000060, 1700000000120, 1700000000180]
STANDARDIZE = {"type": "standardize", "columns": ["x"]}


def warned(section: dict[str, Any]) -> dict[str, str]:
    """Return the details of the warnings of a data section by pointer."""
    read, workspace = read_json(section, "#/data"), MetaWorkspace()
    prepared = prepare(JobDatasets(read), declared(**section), "values", workspace=workspace)
    declaration = read_declaration(read, declared(**section), ErrorCollector(), None)
    extremes = [workspace.extremes[number] for number in range(len(prepared.train.inputs))]
    found = feature_warnings(declaration, prepared.encoding, prepared.rows["train"], extremes)
    details = {warning.pointer: warning.detail for warning in found}
    assert len(details) == len(found)
    return details


def table(x: list[Any], **more: Any) -> dict[str, Any]:
    """A data section of the feature `x` and a target."""
    return {"columns": {"x": x, "y": [*range(len(x))]}, "features": ["x"], "targets": ["y"], **more}


@pytest.mark.parametrize(
    ("x", "more", "words"),
    [
        (MILLISECONDS, {}, "`x` has 4 different values that become 1 in float32"),
        ([1700000000 + 60 * n for n in range(5)], {}, "5 different values that become 3 in float32"),
        ([2024, 2025, 2026], {}, "`x` has values up to a magnitude of 2.03e+03"),
        ([-5e6, 0, 1], {}, "a magnitude of 5e+06"),
        (
            [0, 0, 0, 0, 1, 2],
            {"split": {"validation": 2, "shuffle": False}},
            "`x` is 0 in every training row, so that nothing is learned from it",
        ),
        ([True, True, True], {}, "`x` is `True` in every training row"),
        (
            [1, *[None] * 7, 2],
            {"transforms": [{"type": "impute", "columns": ["x"], "strategy": "mean"}]},
            "`x` is missing in 7 of 9 rows",
        ),
        ([1, *[None] * 7, 2], {"transforms": [{"type": "drop_rows", "columns": ["x"]}]}, "in 7 of 9 rows"),
    ],
)
def test_doubtful_features_are_warned_of(x: list[Any], more: dict[str, Any], words: str) -> None:
    """The warning points to the feature, and says what was found."""
    assert words in warned(table(x, **more))["#/data/features/0"]


@pytest.mark.parametrize(
    ("x", "more"),
    [
        ([0.5, 2.0, 7.0], {}),
        (MILLISECONDS, {"transforms": [STANDARDIZE]}),
        ([2024, 2025, 2026], {"transforms": [STANDARDIZE]}),
        ([0, 1, 2], {"split": {"validation": 1}}),
        ([1, None, 3], {"transforms": [{"type": "impute", "columns": ["x"], "strategy": "mean"}]}),
        ([5, 5e7, 7e7], {"transforms": [{"type": "clip", "columns": ["x"], "max": 6}]}),
        (["a", "b", "c"], {"transforms": [{"type": "one_hot", "columns": ["x"]}]}),
        ([3000, 1000, 2000], {"transforms": [{"type": "ordinal", "columns": ["x"]}]}),
        ([3000, 1000, 2000], {"dtypes": {"input": "int64"}}),
    ],
)
def test_usual_features_are_not_warned_of(x: list[Any], more: dict[str, Any]) -> None:
    """Scaled numbers, categories and indices give no warning."""
    assert warned(table(x, **more)) == {}


ORDINAL = {"type": "ordinal", "columns": ["x"]}
LEVELS = ["low", "high", "medium", "low"]


def order_warning(x: list[Any], transform: dict[str, Any] = ORDINAL, **more: Any) -> str:
    """The warning of the order of categories; empty for none."""
    section = table(x, transforms=[transform], **more)
    found = prepare(JobDatasets(read_json(section)), declared(**section), "values").warnings
    assert [each.pointer for each in found] == ["#/data/transforms/0/columns/0"] * len(found)
    return "".join(each.detail for each in found)


def test_an_order_of_the_alphabet_is_named() -> None:
    """Text that is numbered without a declared order is warned of, with the order used."""
    detail = order_warning(LEVELS)
    assert 'those of the alphabet, "high", "low", "medium"' in detail
    assert "List `categories` in their order, or use `one_hot`" in detail
    assert order_warning(LEVELS, {**ORDINAL, "unknown": "extra"}) != ""


@pytest.mark.parametrize(
    ("x", "transform", "more"),
    [
        (LEVELS, {**ORDINAL, "categories": ["high", "low", "medium"]}, {}),
        (LEVELS, ORDINAL, {"dtypes": {"input": "int64"}}),
        (["no", "yes", "no"], ORDINAL, {}),
        (["10", "2", "30", "4"], ORDINAL, {"types": {"x": "categorical"}}),
        ([3, 1, 2], ORDINAL, {}),
        (LEVELS, {"type": "one_hot", "columns": ["x"]}, {}),
    ],
)
def test_an_order_that_is_declared_or_does_not_matter_is_not(
    x: list[Any], transform: dict[str, Any], more: dict[str, Any]
) -> None:
    """Declared categories, indices for an embedding, two categories and numbers give no warning."""
    assert order_warning(x, transform, **more) == ""


def test_the_remedy_helps() -> None:
    """The advised transform removes the warning."""
    detail = warned(table(MILLISECONDS))["#/data/features/0"]
    assert 'add {"type": "standardize", "columns": ["x"]} to `data.transforms`' in detail
    assert warned(table(MILLISECONDS, transforms=[STANDARDIZE])) == {}


def test_targets_collapse_too() -> None:
    """A target whose values become equal in float32 is warned of."""
    section = table([1, 2, 3, 4])
    section["columns"]["y"] = MILLISECONDS
    assert "`y` has 4 different values that become 1" in warned(section)["#/data/targets/0"]


def test_tensors_are_warned_of() -> None:
    """Tensors of doubles or integers collapse and are large likewise."""
    inputs = {"a": [[value] for value in MILLISECONDS], "b": [[5000.0, value] for value in range(4)]}
    details = warned({"inputs": inputs, "targets": [[0.0]] * 4})
    assert details.keys() == {"#/data/inputs/a", "#/data/inputs/b"}
    assert "`a` has 4 different values that become 1" in details["#/data/inputs/a"]
    assert "`b` has values up to a magnitude of 5e+03" in details["#/data/inputs/b"]


def test_several_columns_are_one_warning() -> None:
    """A warning names five columns and counts the others."""
    columns = {f"x{number}": [5000, 1, 2] for number in range(8)}
    section = {"columns": {**columns, "y": [1, 2, 3]}, "features": [*columns], "targets": ["y"]}
    detail = warned(section)["#/data/features/0"]
    assert detail.startswith(
        "`x0`, `x1`, `x2`, `x3`, `x4` and 3 more columns have values of a large magnitude"
    )


@settings(deadline=None)
@given(x=st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=30, unique=True))
def test_values_of_float32_never_collapse(x: list[float]) -> None:
    """Numbers that float32 represents exactly stay different."""
    assert not any("float32" in detail for detail in warned(table(x)).values())
