from typing import Any

import pytest
from pydantic import TypeAdapter

from service.datasets.transforms.resolve import Columns, resolve
from service.datasets.validation import ErrorCollector
from service.specs.transforms import Transform
from tests.support.field_errors import noted

TYPES = {"a": "numeric", "flag": "boolean", "word": "categorical", "y": "numeric"}
COLUMNS = Columns(TYPES, ["a", "flag", "word"], ["y"])
TENSORS = Columns({"image": "tensor", "targets": "tensor"}, ["image"], ["targets"])
_TRANSFORMS: TypeAdapter[list[Transform]] = TypeAdapter(list[Transform])


def declared(*transforms: dict[str, Any]) -> list[Transform]:
    return _TRANSFORMS.validate_python(list(transforms))


def errors_of(*transforms: dict[str, Any], columns: Columns = COLUMNS) -> dict[str, str]:
    errors = ErrorCollector()
    resolve(declared(*transforms), columns, errors)
    return noted(errors)


@pytest.mark.parametrize(
    ("word", "columns"), [("numeric", ["a"]), ("categorical", ["word"]), ("all", ["a", "flag", "word"])]
)
def test_group_words_mean_features(word: str, columns: list[str]) -> None:
    """Each word means the features of its kind, and none a target."""
    steps = resolve(declared({"type": "drop_rows", "columns": word}), COLUMNS, ErrorCollector())
    assert [step.column for step in steps] == columns


def test_columns_that_are_not_there_are_pointed_at() -> None:
    """Unknown columns are told by place, with a suggestion where one is near."""
    found = errors_of({"type": "standardize", "columns": ["a", "flog", "nowhere"]})
    assert "did you mean `flag`?" in found["#/data/transforms/0/columns/1"]
    assert "neither a feature nor a target" in found["#/data/transforms/0/columns/2"]


ONE_HOT = {"type": "one_hot", "columns": ["word"]}
STANDARDIZE = {"type": "standardize", "columns": ["word"]}


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([STANDARDIZE], "is text, and `standardize` takes numbers"),
        ([ONE_HOT, STANDARDIZE], "`one_hot` is the last transform"),
        ([{"type": "impute", "columns": ["word"], "strategy": "mean"}], "is text, which has no mean"),
        ([{"type": "one_hot", "columns": ["y"]}], "is a target"),
        ([{"type": "impute", "columns": ["y"], "strategy": "mean"}], "is a target"),
    ],
)
def test_transforms_that_do_not_fit_a_column_are_refused(
    transforms: list[dict[str, Any]], words: str
) -> None:
    """What a column is at that point decides."""
    assert words in errors_of(*transforms)[f"#/data/transforms/{len(transforms) - 1}/columns/0"]


def test_ordinal_makes_numbers_of_text() -> None:
    """After it, transforms of numbers fit."""
    steps = resolve(
        declared({"type": "ordinal", "columns": ["word"]}, STANDARDIZE), COLUMNS, ErrorCollector()
    )
    assert [step.transform.type for step in steps] == ["ordinal", "standardize"]


def test_tensors_take_what_works_element_by_element() -> None:
    """Named as inputs and targets are; the group words mean all inputs."""
    pixels = {"type": "scale", "columns": "all", "factor": 0.1}
    steps = resolve(declared(pixels, {"type": "minmax", "columns": ["targets"]}), TENSORS, ErrorCollector())
    assert [step.column for step in steps] == ["image", "targets"]
    refused = errors_of({"type": "one_hot", "columns": ["image"]}, columns=TENSORS)
    assert "is a tensor" in refused["#/data/transforms/0/columns/0"]


@pytest.mark.parametrize("factor", [0.0, 1e-60, 1e300])
def test_factors_that_cannot_be_undone_are_refused(factor: float) -> None:
    """A factor that float32 makes 0 or infinite is an error."""
    found = errors_of({"type": "scale", "columns": ["a"], "factor": factor})
    assert list(found) == ["#/data/transforms/0/factor"]
