from typing import Any

import pytest
from pydantic import TypeAdapter

from service.datasets.transforms.resolve import Columns, resolve
from service.datasets.validation import ErrorCollector
from service.specs.transforms import Transform
from tests.support.field_errors import error_details

TYPES = {"a": "numeric", "flag": "boolean", "word": "categorical", "y": "numeric"}
COLUMNS = Columns(TYPES, ["a", "flag", "word"], ["y"])
TENSORS = Columns({"image": "tensor", "targets": "tensor"}, ["image"], ["targets"])
_TRANSFORMS: TypeAdapter[list[Transform]] = TypeAdapter(list[Transform])


def declared(*transforms: dict[str, Any]) -> list[Transform]:
    return _TRANSFORMS.validate_python(list(transforms))


def errors_of(*transforms: dict[str, Any], columns: Columns = COLUMNS) -> dict[str, str]:
    errors = ErrorCollector()
    resolve(declared(*transforms), columns, errors)
    return error_details(errors)


@pytest.mark.parametrize(
    ("word", "columns"), [("numeric", ["a"]), ("categorical", ["word"]), ("all", ["a", "flag", "word"])]
)
def test_group_words_select_features(word: str, columns: list[str]) -> None:
    """Each word selects the features of its column types, and no target."""
    steps = resolve(declared({"type": "drop_rows", "columns": word}), COLUMNS, ErrorCollector())
    assert [step.column for step in steps] == columns


def test_unknown_columns_are_reported() -> None:
    """Unknown columns are reported at their pointers, with a suggestion if a name is similar."""
    found = errors_of({"type": "standardize", "columns": ["a", "flog", "nowhere"]})
    assert "did you mean `flag`?" in found["#/data/transforms/0/columns/1"]
    assert "neither a feature nor a target" in found["#/data/transforms/0/columns/2"]


ONE_HOT = {"type": "one_hot", "columns": ["word"]}
STANDARDIZE = {"type": "standardize", "columns": ["word"]}


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([STANDARDIZE], "is text, and `standardize` needs numbers"),
        ([ONE_HOT, STANDARDIZE], "must be the last transform of a column"),
        ([{"type": "impute", "columns": ["word"], "strategy": "mean"}], "is text, which has no mean"),
        ([{"type": "one_hot", "columns": ["y"]}], "is a target"),
        ([{"type": "impute", "columns": ["y"], "strategy": "mean"}], "is a target"),
    ],
)
def test_transforms_that_do_not_fit_a_column_are_refused(
    transforms: list[dict[str, Any]], words: str
) -> None:
    """A transform must accept the content of the column at its position in the chain."""
    assert words in errors_of(*transforms)[f"#/data/transforms/{len(transforms) - 1}/columns/0"]


def test_ordinal_converts_text_to_numbers() -> None:
    """After `ordinal`, transforms of numbers are accepted."""
    steps = resolve(
        declared({"type": "ordinal", "columns": ["word"]}, STANDARDIZE), COLUMNS, ErrorCollector()
    )
    assert [step.transform.type for step in steps] == ["ordinal", "standardize"]


def test_tensors_accept_elementwise_transforms() -> None:
    """Transforms name inputs and `targets`, and `all` selects all inputs."""
    pixels = {"type": "scale", "columns": "all", "factor": 0.1}
    steps = resolve(declared(pixels, {"type": "minmax", "columns": ["targets"]}), TENSORS, ErrorCollector())
    assert [step.column for step in steps] == ["image", "targets"]
    refused = errors_of({"type": "one_hot", "columns": ["image"]}, columns=TENSORS)
    assert "is a tensor" in refused["#/data/transforms/0/columns/0"]


@pytest.mark.parametrize("factor", [0.0, 1e-60, 1e300])
def test_factors_that_cannot_be_inverted_are_refused(factor: float) -> None:
    """A factor that is 0 or infinite in float32 is an error."""
    found = errors_of({"type": "scale", "columns": ["a"], "factor": factor})
    assert list(found) == ["#/data/transforms/0/factor"]


TIMES = Columns({**TYPES, "when": "datetime"}, ["a", "word", "when"], ["y"])
DATE_PARTS = {"type": "date_parts", "columns": ["when"], "parts": ["month", "day"]}


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([{"type": "one_hot", "columns": ["when"]}], "put `date_parts` before it"),
        ([DATE_PARTS, {"type": "one_hot", "columns": ["when"]}], "give it one part only"),
        (
            [DATE_PARTS, {"type": "impute", "columns": ["when"], "strategy": "mode"}],
            "put `impute` before it",
        ),
        ([{**DATE_PARTS, "columns": ["word"]}], '`"types": {"word": "datetime"}`'),
        ([{**DATE_PARTS, "columns": ["a"]}], "holds numbers"),
        ([{**DATE_PARTS, "columns": ["y"]}], "is a target"),
        (
            [{"type": "hash", "columns": ["word"], "buckets": 9, "output": "columns"}, STANDARDIZE],
            "must be the last transform",
        ),
    ],
)
def test_datetimes_accept_date_parts_only(transforms: list[dict[str, Any]], words: str) -> None:
    """A datetime needs `date_parts`, and other columns do not accept it."""
    found = errors_of(*transforms, columns=TIMES)
    assert words in found[f"#/data/transforms/{len(transforms) - 1}/columns/0"]


def test_parts_of_datetimes_are_numbers() -> None:
    """After `date_parts`, transforms of numbers are accepted; of one part, also those of categories."""
    standardize = {"type": "standardize", "columns": ["when"]}
    one_part = {"type": "date_parts", "columns": "datetime", "parts": ["month"]}
    one_hot = {"type": "one_hot", "columns": ["when"]}
    for chain in ([DATE_PARTS, standardize], [one_part, one_hot]):
        errors = ErrorCollector()
        assert [step.column for step in resolve(declared(*chain), TIMES, errors)] == ["when", "when"]
        assert not errors.count
