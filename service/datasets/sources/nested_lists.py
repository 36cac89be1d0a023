"""Nested JSON lists as one numpy array, with errors where their shape is irregular."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.validation import ErrorCollector, quote_value
from service.errors import MAX_LISTED_ERRORS, pointer_to

MAX_DIMENSIONS = 16


def read_nested(
    value: Any, pointer: str, errors: ErrorCollector, allows_missing: bool = False
) -> NDArray[Any] | None:
    """Convert nested lists of numbers or of booleans to an array.

    Args:
        value: Nested lists, [B, …].
        pointer: Pointer to `value` in the request.
        errors: Receives an error for each list or value that can't be converted.
        allows_missing: Whether null is a missing number, NaN.

    Returns:
        int64 if all values are integers of 64 bits, bool if all are booleans, otherwise float64; None if
        there were errors.
    """
    if not isinstance(value, list):
        errors.add(pointer, f"Give a nested list of numbers; found {quote_value(value)}.")
        return None
    # Flatten one level at a time; recursion could overflow the stack. `level` holds the elements of all lists
    # at depth `len(shape)`, in order: prod(shape) elements.
    shape: list[int] = []
    level: list[Any] = [value]
    while list in (types := set(map(type, level))):
        if len(types) > 1 or len(set(map(len, level))) > 1:
            _add_ragged_errors(level, shape, pointer, errors)
            return None
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
        if len(shape) > MAX_DIMENSIONS:
            errors.add(
                pointer, f"The lists are nested deeper than the maximum of {MAX_DIMENSIONS} dimensions."
            )
            return None
        if not level:
            errors.add(pointer, f"There are no values; the shape is {shape}.")
            return None
    if allows_missing and None in level:
        level = [math.nan if leaf is None else leaf for leaf in level]
    leaves = _read_leaves(level, shape, pointer, errors)
    return None if leaves is None else leaves.reshape(shape)


def _add_ragged_errors(
    level: Sequence[Any], shape: Sequence[int], pointer: str, errors: ErrorCollector
) -> None:
    """Add an error for each element of a level whose length differs from the most frequent one."""
    lengths = [len(element) if isinstance(element, list) else None for element in level]
    usual = lengths.index(Counter(lengths).most_common(1)[0][0])
    expected = f"{_shape_text(level[usual])} as at {_element_pointer(usual, shape, pointer)}"
    others = [index for index, length in enumerate(lengths) if length != lengths[usual]]
    for index in others[:MAX_LISTED_ERRORS]:
        detail = f"The shape is irregular: found {_shape_text(level[index])}, expected {expected}."
        errors.add(_element_pointer(index, shape, pointer), detail)
    errors.add_unlisted(len(others[MAX_LISTED_ERRORS:]))


def _shape_text(element: Any) -> str:
    """Describe the shape of an element, judged by the first element at each depth."""
    if not isinstance(element, list):
        return f"the single value {quote_value(element)}"
    shape: list[int] = []
    while isinstance(element, list) and len(shape) <= MAX_DIMENSIONS:
        shape.append(len(element))
        element = element[0] if element else None
    return f"shape {shape}"


def _element_pointer(index: int, shape: Sequence[int], pointer: str) -> str:
    """Return the pointer to an element of a level, given its index in the flattened level."""
    return pointer_to(pointer, *map(int, np.unravel_index(index, tuple(shape))))


def _read_leaves(
    leaves: list[Any], shape: Sequence[int], pointer: str, errors: ErrorCollector
) -> NDArray[Any] | None:
    """Convert the values, [prod(shape)]; None if there were errors."""
    types = set(map(type, leaves))
    if types == {bool}:
        return np.array(leaves, np.bool_)
    if types <= {int, float}:
        numbers = _to_numbers(leaves, types)
        bad = np.flatnonzero(np.isinf(numbers)).tolist()  # JSON has no NaN: one is a missing value
        problem = "is outside the range of a double (±1.8e308)."
    else:
        bad = [index for index, leaf in enumerate(leaves) if type(leaf) not in (int, float)]
        problem = "is not a number; a tensor must have only numbers or only booleans, and no missing values."
    for index in bad[:MAX_LISTED_ERRORS]:
        errors.add(_element_pointer(index, shape, pointer), f"{quote_value(leaves[index])} {problem}")
    errors.add_unlisted(len(bad[MAX_LISTED_ERRORS:]))
    return None if bad else numbers


def _to_numbers(leaves: list[Any], types: set[type]) -> NDArray[Any]:
    try:
        return np.array(leaves, np.int64 if types == {int} else np.float64)
    except OverflowError:  # some integer exceeds 64 bits, or even a double
        return np.array([_to_double(leaf) for leaf in leaves], np.float64)


def _to_double(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")
