import json
from typing import Any

import pytest

from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import Values
from service.datasets.transforms.registry import from_document
from service.specs.transforms import MAX_COLUMNS, OneHot, Ordinal
from tests.support.columns import applied, fitted, numbers, text
from tests.support.field_errors import refusal

ISLANDS = text(["Dream", "Biscoe", "Dream"])


def one_hot(**arguments: Any) -> OneHot:
    return OneHot(type="one_hot", columns=["a"], **arguments)


def ordinal(**arguments: Any) -> Ordinal:
    return Ordinal(type="ordinal", columns=["a"], **arguments)


def test_one_hot_has_a_column_for_each_category_in_ascending_order() -> None:
    """Each category has a column of its own, named after the category."""
    transforms = fitted(ISLANDS, one_hot())
    assert applied(transforms, ISLANDS) == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert pipeline.titles("a", transforms) == ["a=Biscoe", "a=Dream"]


def test_ordinal_is_the_index_of_the_category() -> None:
    """Indices start at 0 and follow the ascending or the declared order of the categories."""
    assert applied(fitted(ISLANDS, ordinal()), ISLANDS) == [1.0, 0.0, 1.0]
    assert applied(fitted(ISLANDS, ordinal(categories=["Dream", "Biscoe"])), ISLANDS) == [0.0, 1.0, 0.0]


def test_numbers_may_be_categories() -> None:
    """Numbers and booleans can be categories; integral numbers have titles without a point."""
    transforms = fitted(numbers([3, 1, 3]), one_hot())
    assert applied(transforms, numbers([1, 3])) == [[1.0, 0.0], [0.0, 1.0]]
    assert pipeline.titles("a", transforms) == ["a=1", "a=3"]
    assert applied(fitted(numbers([0.0]), ordinal(categories=[False, True])), numbers([1.0])) == [1.0]


def test_an_unknown_category_is_an_error_by_default() -> None:
    """The error has the row, the category and the value of `unknown` that accepts it."""
    for declared, remedy in ((one_hot(), '"unknown": "zeros"'), (ordinal(), '"unknown": "extra"')):
        refused = refusal(
            lambda declared=declared: applied(fitted(ISLANDS, declared), text(["Dream", "Atlantis"]))
        )
        assert refused["#/a"].startswith('`a` in row 1 is "Atlantis"')
        assert remedy in refused["#/a"]


def test_an_unknown_category_is_accepted_if_declared() -> None:
    """An unknown category becomes zeros, or the index after the last one."""
    unknown = text(["Atlantis", "Dream"])
    assert applied(fitted(ISLANDS, one_hot(unknown="zeros")), unknown) == [[0.0, 0.0], [0.0, 1.0]]
    assert applied(fitted(ISLANDS, ordinal(unknown="extra")), unknown) == [2.0, 1.0]


@pytest.mark.parametrize("policy", [{}, {"unknown": "extra"}])
def test_a_missing_category_is_not_an_unknown_one(policy: dict[str, Any]) -> None:
    """`unknown` does not apply to missing values; they need `impute` or `drop_rows`."""
    refused = refusal(lambda: applied(fitted(ISLANDS, ordinal(**policy)), text([None, "Dream"])))
    assert "`a` in row 0 is missing, and no `impute` before the ordinal fills it" in refused["#/a"]


@pytest.mark.parametrize("values", [ISLANDS, numbers([2, 0.1])])
def test_fitted_categories_survive_json(values: Values) -> None:
    """Text and number categories are unchanged by serialization to JSON."""
    for declared in (one_hot(), ordinal(unknown="extra")):
        (transform,) = fitted(values, declared)
        assert from_document(json.loads(json.dumps(transform.to_document()))) == transform


@pytest.mark.parametrize(
    ("values", "categories", "words"),
    [
        (ISLANDS, [1, 2], "needs strings as categories; found 1"),
        (numbers([1.0]), ["x"], 'needs numbers or booleans as categories; found "x"'),
        (text([None]), None, "has no value in the training rows"),
    ],
)
def test_categories_of_another_type_are_refused(values: Values, categories: Any, words: str) -> None:
    """Declared categories must have the type of the column, and a column needs a value."""
    assert words in refusal(lambda: fitted(values, one_hot(categories=categories)))["#/step"]


def test_too_many_categories_are_refused_with_an_alternative() -> None:
    """`one_hot` has a maximum number of categories; the error suggests `ordinal`, which has none."""
    many = text([f"id{number}" for number in range(MAX_COLUMNS + 1)])
    assert "use `ordinal`" in refusal(lambda: fitted(many, one_hot()))["#/step"]
    assert applied(fitted(many, ordinal()), many[:1]) == [0.0]


def test_a_category_is_declared_once() -> None:
    """Duplicate declared categories are an error."""
    with pytest.raises(ValueError, match="twice"):
        one_hot(categories=["a", "a"])
