"""Nested JSON lists as one numpy array, or where their shape breaks."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.validation import ErrorCollector, shown
from service.errors import pointer_to

MOST_DIMENSIONS = 16


def read_nested(value: Any, pointer: str, errors: ErrorCollector) -> NDArray[Any] | None:
    """The array that nested lists of numbers or of booleans spell.

    The lists are flattened level by level, so that no depth overflows a stack and a level whose
    elements differ tells where the shape breaks.

    Args:
        value: nested lists, the first dimension the samples.
        pointer: the place of `value` in the request.
        errors: where what can't be read is noted.

    Returns:
        int64 where all are integers of 64 bits, bool where all are booleans, else float64;
        None where errors were noted.
    """
    if not isinstance(value, list):
        errors.add(pointer, f"Give a nested list of numbers; found {shown(value)}.")
        return None
    shape: list[int] = []
    level: list[Any] = [value]
    while list in (kinds := set(map(type, level))):
        if len(kinds) > 1 or len(set(map(len, level))) > 1:
            _note_ragged(level, shape, pointer, errors)
            return None
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
        if not level or len(shape) > MOST_DIMENSIONS:
            _note_impossible(shape, pointer, errors)
            return None
    leaves = _read_leaves(level, shape, pointer, errors)
    return None if leaves is None else leaves.reshape(shape)


def _note_impossible(shape: Sequence[int], pointer: str, errors: ErrorCollector) -> None:
    if len(shape) > MOST_DIMENSIONS:
        errors.add(pointer, f"The lists nest deeper than the {MOST_DIMENSIONS} dimensions a tensor may have.")
    else:
        errors.add(pointer, f"There are no values: the shape is {list(shape)}.")


def _note_ragged(level: Sequence[Any], shape: Sequence[int], pointer: str, errors: ErrorCollector) -> None:
    """Note each element of a level that differs from the most frequent form of its siblings."""
    forms = [len(element) if isinstance(element, list) else None for element in level]
    usual = forms.index(Counter(forms).most_common(1)[0][0])
    pattern = f"{_shape_text(level[usual])}, as {_element_pointer(usual, shape, pointer)} has"
    for index, element in enumerate(level):
        if forms[index] != forms[usual]:
            place = _element_pointer(index, shape, pointer)
            errors.add(place, f"The shape breaks here: found {_shape_text(element)}, expected {pattern}.")


def _shape_text(element: Any) -> str:
    if not isinstance(element, list):
        return f"the single value {shown(element)}"
    shape: list[int] = []
    while isinstance(element, list) and len(shape) <= MOST_DIMENSIONS:
        shape.append(len(element))
        element = element[0] if element else None
    return f"shape {shape}"


def _element_pointer(index: int, shape: Sequence[int], pointer: str) -> str:
    return pointer_to(pointer, *map(int, np.unravel_index(index, tuple(shape))))


def _read_leaves(
    leaves: list[Any], shape: Sequence[int], pointer: str, errors: ErrorCollector
) -> NDArray[Any] | None:
    kinds = set(map(type, leaves))
    if kinds == {bool}:
        return np.array(leaves, np.bool_)
    if kinds <= {int, float}:
        numbers = _numbers(leaves, kinds)
        bad = np.flatnonzero(~np.isfinite(numbers)).tolist()
        reason = "is beyond a double's range, ±1.8e308."
    else:
        bad = [index for index, leaf in enumerate(leaves) if type(leaf) not in (int, float)]
        reason = "is not a number: a tensor holds numbers only (or booleans only), none missing."
    for index in bad:
        errors.add(_element_pointer(index, shape, pointer), f"{shown(leaves[index])} {reason}")
    return None if bad else numbers


def _numbers(leaves: list[Any], kinds: set[type]) -> NDArray[Any]:
    try:
        return np.array(leaves, np.int64 if kinds == {int} else np.float64)
    except OverflowError:  # an integer beyond 64 bits, or even beyond a double
        return np.array([_double(leaf) for leaf in leaves], np.float64)


def _double(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")
