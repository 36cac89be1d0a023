"""Iteration, truth and text of the values of a class text, within bounds."""

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.errors import Raised
from service.architectures.text.evaluation import Run
from service.architectures.text.guards import check_pieces
from service.architectures.text.operators import MAX_SEQUENCE_LENGTH, NUMBERS, OutOfBounds
from service.architectures.text.values import (
    ITERATOR,
    DefaultDict,
    Member,
    Members,
    NamedValues,
    Record,
    find_attribute,
    text_class,
)

CONTAINERS = nn.Sequential | nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict
_ITERABLES = str | list | tuple | range | dict | set | deque | Members | ITERATOR | CONTAINERS
MAX_TEXT_LENGTH = 1_000
_FORMAT = re.compile(r"[ <>^]?[-+ ]?#?0?\d{0,2}[,_]?(\.\d{1,2})?[a-zA-Z%]?")


def iterate(run: Run, at: ast.AST, value: Any) -> Iterator[Any]:
    """Iterate over a value; each element takes a step of the budget.

    Raises:
        ForwardError: If it has no elements, or too many.
    """
    if not run.constructing and id(value) in run.persistent and isinstance(value, ITERATOR):
        run.fail(at, "this iterator belongs to the model, so that each forward pass would begin elsewhere.")
    for each in _elements(run, at, value):
        run.step(at)
        yield each


def listed(run: Run, at: ast.AST, value: Any) -> list[Any]:
    """Return the elements of a value as a list.

    Raises:
        ForwardError: If it has no elements, or too many.
    """
    if isinstance(value, list | tuple | range | str | dict | set) and len(value) > MAX_SEQUENCE_LENGTH:
        run.fail(at, f"a sequence has at most {MAX_SEQUENCE_LENGTH:,} elements, not {len(value):,}.")
    elements: list[Any] = []
    for each in iterate(run, at, value):
        if len(elements) == MAX_SEQUENCE_LENGTH:
            run.fail(at, f"a sequence has at most {MAX_SEQUENCE_LENGTH:,} elements.")
        elements.append(each)
    return elements


def _elements(run: Run, at: ast.AST, value: Any) -> Iterable[Any]:
    if isinstance(value, Tensor):
        if value.dim() == 0:
            run.fail(at, "a tensor without dimensions has no elements.")
        try:
            check_pieces(value.shape[0])
        except ValueError as error:
            run.fail(at, str(error))
        return value.unbind(0)
    if isinstance(value, nn.Module | Record) and find_attribute(type(value), "__iter__")[0]:
        return _iterated(run, at, value)
    if isinstance(value, _ITERABLES):
        elements: Iterator[Any] = iter(value)
        return elements
    if isinstance(value, Record) and find_attribute(type(value), "__getitem__")[0]:
        return _indexed(run, value)
    if isinstance(value, type) and (own := text_class(value)) is not None and own.members is not None:
        return list({id(each): each for each in own.members.values()}.values())
    return run.fail(at, f"a value of type {type(value).__name__} cannot be iterated over.")


def _iterated(run: Run, at: ast.AST, value: Any) -> Iterator[Any]:
    """Return the iterator that a method `__iter__` of the text returns."""
    found = type(value).__iter__(value)
    if not isinstance(found, ITERATOR):
        run.fail(at, "`__iter__` returns an iterator; write `return iter(…)` in it.")
    elements: Iterator[Any] = found
    return elements


def _indexed(run: Run, value: Any) -> Iterator[Any]:
    """Iterate over the elements that a method `__getitem__` of the text returns, up to an IndexError."""
    position = 0
    while True:
        run.catches.append(lambda name: name == "IndexError")
        try:
            found = type(value).__getitem__(value, position)
        except Raised as error:
            if error.name != "IndexError":
                raise
            return
        finally:
            run.catches.pop()
        yield found
        position += 1


def truth(run: Run, at: ast.AST, value: Any) -> bool:
    """Return the truth of a value.

    Raises:
        ForwardError: If it depends on the values of a tensor.
    """
    if isinstance(value, Tensor):
        if run.constructing and not value.is_meta:
            return bool(value)
        run.fail(
            at,
            "this branch depends on the values of a tensor, so that the operations would differ between "
            "batches; choose values with `torch.where(condition, a, b)`.",
        )
    if isinstance(value, Record | nn.Module) and find_attribute(type(value), "__len__")[0]:
        run.fail(at, "the truth of an object with `__len__` is not supported; compare its `len(…)`.")
    if isinstance(value, Member) and value.is_mixed:
        return bool(value.value)
    return True if isinstance(value, Record) else bool(value)


def text_of(run: Run, at: ast.AST, value: Any) -> str:
    """Return `str(value)` for numbers, strings, shapes and classes.

    Raises:
        ForwardError: If the value has no text, or a too long one.
    """
    if isinstance(value, Raised):
        text = value.text
    elif isinstance(value, DefaultDict | deque) or (isinstance(value, Member) and value.is_mixed):
        run.fail(at, f"the text of a value of type {type(value).__name__} is not supported.")
    elif isinstance(value, Member):
        text = f"{type(value).__name__}.{value.name}"
    elif isinstance(value, NamedValues):
        own = text_class(type(value))
        pairs = zip(own.fields or () if own else (), value, strict=False)
        text = f"{type(value).__name__}({', '.join(f'{n}={quoted(run, at, v)}' for n, v in pairs)})"
    elif isinstance(value, str | bool | None | NUMBERS | torch.dtype | torch.device | range):
        text = str(value)
    elif isinstance(value, list | tuple | dict | set):
        # Python writes the elements as `repr` does, which could name an object's address.
        parts = [
            f"{quoted(run, at, name)}: {quoted(run, at, value[name])}"
            if isinstance(value, dict)
            else quoted(run, at, name)
            for name in listed(run, at, value)
        ]
        text = _brackets(value, ", ".join(parts))
    elif isinstance(value, type):
        text = f"<class '{value.__name__}'>"
    else:
        text = type(value).__name__
    if len(text) > MAX_TEXT_LENGTH:
        run.fail(at, f"a string has at most {MAX_TEXT_LENGTH:,} characters.")
    return text


def quoted(run: Run, at: ast.AST, value: Any) -> str:
    """Return `repr(value)`."""
    return repr(value) if isinstance(value, str) else text_of(run, at, value)


def _brackets(value: Any, inner: str) -> str:
    if isinstance(value, torch.Size):
        return f"torch.Size([{inner}])"
    if isinstance(value, tuple):
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return f"[{inner}]" if isinstance(value, list) else f"{{{inner}}}"


def formatted(run: Run, at: ast.AST, value: Any, specification: str) -> str:
    """Return `format(value, specification)` for numbers and strings.

    Raises:
        ForwardError: If the specification is none of a short number or string.
    """
    if not specification:
        return text_of(run, at, value)
    if not isinstance(value, int | float | str) or not _FORMAT.fullmatch(specification):
        run.fail(at, f"the format `{specification}` is not supported.")
    try:
        return format(value, specification)
    except ValueError as error:
        return run.fail(at, f"{error}.")


def extended(values: Any) -> Any:
    """Return a list after checking its length.

    Raises:
        OutOfBounds: If it is too long.
    """
    if len(values) > MAX_SEQUENCE_LENGTH:
        raise OutOfBounds(f"A list has at most {MAX_SEQUENCE_LENGTH:,} elements.")
    return values
