"""Errors of specs: suggestions, and the number of errors that are explained."""

from time import process_time
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import MAX_LISTED_ERRORS, FieldErrors
from service.specs.base import Spec, did_you_mean, field_errors, list_names


class Leaf(Spec):
    """A part of a document."""

    size: int = 0


class Tree(Spec):
    """A document with parts."""

    leaves: list[Leaf] = []
    trees: list["Tree"] = []


def errors_of(document: Any) -> FieldErrors:
    """The errors of a document that is not a valid tree."""
    with pytest.raises(ValidationError) as raised:
        Tree.model_validate(document)
    return field_errors(raised.value, document)


@pytest.mark.parametrize(
    ("name", "known", "suggested"),
    [
        ("Tahn", ["Linear", "Tanh"], "Tanh"),
        ("tanh", ["Tanhshrink", "Tanh"], "Tanh"),
        ("linaer", ["Bilinear", "Linear"], "Linear"),
        ("x" * 5_000, ["x" * 4_999], None),
        ("word", [], None),
        ("word", ["number"], None),
    ],
)
def test_the_most_similar_name_is_suggested(name: str, known: list[str], suggested: str | None) -> None:
    """Upper and lower case do not matter; of names that are too long or too different, none is suggested."""
    assert did_you_mean(name, known) == (f": did you mean `{suggested}`?" if suggested else "")


def test_long_lists_of_names_are_cut() -> None:
    """A message lists 20 names and counts the others."""
    assert list_names(["a", "b"]) == "a, b"
    assert list_names([str(number) for number in range(1_020)]).endswith(", 18, 19 and 1,000 more")


@pytest.mark.parametrize(
    "document",
    [
        {f"k{number}": 0 for number in range(500)},
        {"leaves": [{"sise": 0}] * 500},
        {"leaves": [{"size": "0"}] * 500},
        {"trees": [{"trees": [{"leaves": [{f"k{number}": 0 for number in range(100)}] * 5}]}]},
        {"leaves": [{f"k{number}": 0 for number in range(250)}] * 2},
    ],
    ids=["unknown fields", "wrong items", "wrong values", "nested", "several parts"],
)
def test_all_errors_are_counted_at_every_level(document: Any) -> None:
    """Of 500 errors 100 are listed, wherever they are."""
    errors = errors_of(document)
    assert (len(errors), errors.count) == (MAX_LISTED_ERRORS, 500)


def test_an_unknown_field_names_the_similar_one() -> None:
    """The suggestion comes from the fields of the smallest object."""
    (error,) = errors_of({"trees": [{"leaves": [{"sise": 0}]}]})
    assert error.pointer == "#/trees/0/leaves/0/sise"
    assert error.detail == "`sise` is not a field here: did you mean `size`?"


def test_known_fields_are_checked_among_many_unknown_ones() -> None:
    """Only the unknown fields that are listed are validated; a known field is, wherever it stands."""
    names = {f"k{number}": 0 for number in range(200_000)}
    errors = errors_of({**names, "leaves": [{**names, "size": 1.5}], "trees": 1})
    assert (len(errors), errors.count) == (MAX_LISTED_ERRORS, 400_002)
    pointers = {error.pointer for error in errors}
    assert {"#/leaves/0/size", "#/trees"} & pointers
    assert Tree.model_validate({"leaves": [{"size": 3.0}]}).leaves == [Leaf(size=3)]


def test_millions_of_unknown_fields_cost_no_more_than_reading_their_names() -> None:
    """The validation of an object with 100 times as many unknown fields takes less than 10 times as long."""
    few, many = ({f"k{number}": 0 for number in range(size)} for size in (1_000, 100_000))
    assert _seconds(many) < 10 * _seconds(few)


def _seconds(document: Any) -> float:
    """The least processor time of some validations."""
    times = []
    for _ in range(5):
        start = process_time()
        errors_of(document)
        times.append(process_time() - start)
    return min(times)
