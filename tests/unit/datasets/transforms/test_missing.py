import json
from typing import Any

import pytest

from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import Values
from service.datasets.transforms.registry import from_document
from service.specs.transforms import Impute, OneHot, Standardize
from tests.support.columns import applied, fitted, numbers, text
from tests.support.field_errors import refusal

AGES = numbers([1.0, None, 3.0, 3.0, 9.0])
SEXES = text(["male", None, "female", "male", "female"])


def impute(strategy: Any, **arguments: Any) -> Impute:
    return Impute(type="impute", columns=["a"], strategy=strategy, **arguments)


@pytest.mark.parametrize(
    ("values", "strategy", "expected"),
    [
        (AGES, impute("mean"), 4.0),
        (AGES, impute("median"), 3.0),
        (numbers([1.0, 4.0, None]), impute("median"), 2.5),
        (AGES, impute("mode"), 3.0),
        (AGES, impute("constant", value=-1), -1.0),
        (SEXES, impute("mode"), "female"),
        (SEXES, impute("constant", value="unknown"), "unknown"),
    ],
)
def test_missing_values_become_one_value(values: Values, strategy: Impute, expected: Any) -> None:
    """The strategies compute a constant from the values that are not missing."""
    (transform,) = fitted(values, strategy)
    assert transform.to_document()["value"] == expected
    assert from_document(json.loads(json.dumps(transform.to_document()))) == transform


def test_an_indicator_is_a_column_of_its_own() -> None:
    """The indicator is 1 where a value was missing, and later steps do not transform it."""
    transforms = fitted(
        AGES, impute("constant", value=0.0, indicator=True), Standardize(type="standardize", columns=["a"])
    )
    assert pipeline.titles("a", transforms) == ["a", "a_missing"]
    result = applied(transforms, AGES)
    assert [row[1] for row in result] == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert sum(row[0] for row in result) == pytest.approx(0.0, abs=1e-6)


def test_indicators_of_categories_come_after_their_columns() -> None:
    """The indicator follows the one-hot columns."""
    transforms = fitted(SEXES, impute("mode", indicator=True), OneHot(type="one_hot", columns=["a"]))
    assert pipeline.titles("a", transforms) == ["a=female", "a=male", "a_missing"]
    assert applied(transforms, text([None])) == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("values", "strategy", "words"),
    [
        (numbers([None]), impute("mean"), "no value in the training rows"),
        (
            AGES,
            impute("constant", value="x"),
            'holds numbers, so `value` must be a number or a boolean; found "x"',
        ),
        (SEXES, impute("constant", value=1.0), "holds text, so `value` must be a string; found 1.0"),
        (numbers([1.7e308, 1.7e308]), impute("mean"), "too large"),
    ],
)
def test_values_that_cannot_be_computed_are_refused(values: Values, strategy: Impute, words: str) -> None:
    """A column without values, a constant of another type and an overflow are errors."""
    assert words in refusal(lambda: fitted(values, strategy))["#/step"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"strategy": "constant"}, "`value` is required with the strategy `constant`"),
        ({"strategy": "mean", "value": 1}, "`value` is only allowed with the strategy `constant`."),
    ],
)
def test_a_value_needs_the_strategy_constant(arguments: dict[str, Any], words: str) -> None:
    """`constant` requires `value`, and the other strategies refuse it."""
    with pytest.raises(ValueError, match=words):
        Impute(type="impute", columns="all", **arguments)
