import json
from typing import Any

import pytest

from service.datasets.sources.columns import MOST_COLUMNS
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import Values
from service.datasets.transforms.kinds import from_document
from service.specs.transforms import OneHot, Ordinal
from tests.support.columns import applied, fitted, numbers, text
from tests.support.field_errors import refusal

ISLANDS = text(["Dream", "Biscoe", "Dream"])


def one_hot(**arguments: Any) -> OneHot:
    return OneHot(type="one_hot", columns=["a"], **arguments)


def ordinal(**arguments: Any) -> Ordinal:
    return Ordinal(type="ordinal", columns=["a"], **arguments)


def test_one_hot_has_a_column_for_each_category_in_ascending_order() -> None:
    """1 in the category's own column, which is named after it."""
    transforms = fitted(ISLANDS, one_hot())
    assert applied(transforms, ISLANDS) == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert pipeline.titles("a", transforms) == ["a=Biscoe", "a=Dream"]


def test_ordinal_is_the_index_of_the_category() -> None:
    """From 0, in ascending order, or in the order that is declared."""
    assert applied(fitted(ISLANDS, ordinal()), ISLANDS) == [1.0, 0.0, 1.0]
    assert applied(fitted(ISLANDS, ordinal(categories=["Dream", "Biscoe"])), ISLANDS) == [0.0, 1.0, 0.0]


def test_numbers_may_be_categories() -> None:
    """Codes and booleans have categories too, named as a person writes them."""
    transforms = fitted(numbers([3, 1, 3]), one_hot())
    assert applied(transforms, numbers([1, 3])) == [[1.0, 0.0], [0.0, 1.0]]
    assert pipeline.titles("a", transforms) == ["a=1", "a=3"]
    assert applied(fitted(numbers([0.0]), ordinal(categories=[False, True])), numbers([1.0])) == [1.0]


def test_an_unknown_category_is_an_error_by_default() -> None:
    """It is told with its row, its text and what would take it."""
    for kind, remedy in ((one_hot(), '"unknown": "zeros"'), (ordinal(), '"unknown": "extra"')):
        refused = refusal(lambda kind=kind: applied(fitted(ISLANDS, kind), text(["Dream", "Atlantis"])))
        assert refused["#/a"].startswith('`a` in row 1 is "Atlantis"')
        assert remedy in refused["#/a"]


def test_an_unknown_category_is_taken_where_it_is_declared_so() -> None:
    """As zeros, or as one more index."""
    unknown = text(["Atlantis", "Dream"])
    assert applied(fitted(ISLANDS, one_hot(unknown="zeros")), unknown) == [[0.0, 0.0], [0.0, 1.0]]
    assert applied(fitted(ISLANDS, ordinal(unknown="extra")), unknown) == [2.0, 1.0]


@pytest.mark.parametrize("policy", [{}, {"unknown": "extra"}])
def test_a_missing_category_is_no_unknown_one(policy: dict[str, Any]) -> None:
    """What to do about it is said by `impute` or `drop_rows`, not by `unknown`."""
    refused = refusal(lambda: applied(fitted(ISLANDS, ordinal(**policy)), text([None, "Dream"])))
    assert "`a` in row 0 is missing: only an `impute` before" in refused["#/a"]


@pytest.mark.parametrize("values", [ISLANDS, numbers([2, 0.1])])
def test_fitted_categories_survive_json(values: Values) -> None:
    """Text and numbers come back as they were."""
    for kind in (one_hot(), ordinal(unknown="extra")):
        (transform,) = fitted(values, kind)
        assert from_document(json.loads(json.dumps(transform.to_document()))) == transform


@pytest.mark.parametrize(
    ("values", "categories", "words"),
    [
        (ISLANDS, [1, 2], "has categories that are strings; 1 is none"),
        (numbers([1.0]), ["x"], 'has categories that are numbers or booleans; "x" is none'),
        (text([None]), None, "has no value in the training rows"),
    ],
)
def test_categories_of_another_kind_are_refused(values: Values, categories: Any, words: str) -> None:
    """Declared categories are values of the column."""
    assert words in refusal(lambda: fitted(values, one_hot(categories=categories)))["#/step"]


def test_too_many_columns_are_refused_with_another_way() -> None:
    """An id as one_hot would be a column for each row: an index takes any number."""
    many = text([f"id{number}" for number in range(MOST_COLUMNS + 1)])
    assert "take `ordinal`" in refusal(lambda: fitted(many, one_hot()))["#/step"]
    assert applied(fitted(many, ordinal()), many[:1]) == [0.0]


def test_a_category_is_declared_once() -> None:
    """The same one twice is an error."""
    with pytest.raises(ValueError, match="twice"):
        one_hot(categories=["a", "a"])
