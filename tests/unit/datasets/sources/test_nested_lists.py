from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.datasets.sources.nested_lists import read_nested
from service.datasets.validation import ErrorCollector
from tests.support.field_errors import error_details


def errors_of(value: Any) -> dict[str, str]:
    errors = ErrorCollector()
    assert read_nested(value, "#/inputs", errors) is None
    return error_details(errors)


@given(
    arrays.arrays(
        st.sampled_from([np.int64, np.bool_, np.float64]),
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_nested_lists_become_an_array(array: np.ndarray[Any, Any]) -> None:
    """Any array written as lists is read back with its shape, type and values."""
    read = read_nested(array.tolist(), "#/inputs", ErrorCollector())
    assert read is not None
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_integers_beyond_64_bits_become_doubles() -> None:
    """An integer beyond 64 bits is rounded to a double."""
    read = read_nested([[2**70]], "#/inputs", ErrorCollector())
    assert read is not None
    assert read.tolist() == [[2.0**70]]


@pytest.mark.parametrize(
    ("value", "pointer", "both"),
    [
        ([[1, 2], [3, 4], [5]], "#/inputs/2", ("[1]", "[2]")),
        ([[[1], [2]], [[1], [2, 3]]], "#/inputs/1/1", ("[2]", "[1]")),
        ([[1, 2], [3, [4]]], "#/inputs/1/1", ("[1]", "single value 1")),
        ([[1], [2], 3], "#/inputs/2", ("single value 3", "[1]")),
        ([[1], [2], []], "#/inputs/2", ("[0]", "[1]")),
    ],
)
def test_ragged_lists_have_an_error_at_the_irregular_element(
    value: Any, pointer: str, both: tuple[str, str]
) -> None:
    """The element that differs has an error with its shape and that of its siblings."""
    found = errors_of(value)
    assert list(found) == [pointer]
    assert all(shape in found[pointer] for shape in both)


@pytest.mark.parametrize("leaf", [None, "1", True, {}])
def test_values_must_be_numbers(leaf: Any) -> None:
    """A value that is not a number is an error, including a boolean among numbers."""
    assert list(errors_of([[1.0, 2.0], [leaf, 3.0]])) == ["#/inputs/1/0"]


def test_numbers_beyond_a_double_are_refused() -> None:
    """An integer outside the range of a double is an error at its position."""
    assert "outside the range of a double" in errors_of([[1.5, 10**400]])["#/inputs/0/1"]


@pytest.mark.parametrize("value", [[], [[]], 3, "x", None, {"a": 1}])
def test_empty_lists_and_other_values_are_refused(value: Any) -> None:
    """An empty list, or a value that is not a list, is an error at the whole value."""
    assert list(errors_of(value)) == ["#/inputs"]


def test_deep_nesting_does_not_overflow_the_stack() -> None:
    """Lists nested 200,000 deep are refused like other errors."""
    value: Any = 1
    for _ in range(200_000):
        value = [value]
    assert "16 dimensions" in errors_of(value)["#/inputs"]
