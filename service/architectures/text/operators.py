"""Operators of a forward text: PyTorch's on tensors, and bounded arithmetic on Python numbers."""

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Python integers and sequences have no size limit of their own: `9**9**9` would run for ever.
MAX_INTEGER = 2**53
MAX_EXPONENT = 64
MAX_SEQUENCE_LENGTH = 1_024


@dataclass(frozen=True)
class Operator:
    """A unary or binary operator.

    Attributes:
        symbol: The operator as it is written.
        compute: Computes the result from one or two operands.
    """

    symbol: str
    compute: Callable[..., Any]


# By the class name of the operator's syntax node.
BINARY: Mapping[str, Operator] = {
    name: Operator(symbol, compute)
    for name, symbol, compute in (
        ("Eq", "==", operator.eq),
        ("NotEq", "!=", operator.ne),
        ("Lt", "<", operator.lt),
        ("LtE", "<=", operator.le),
        ("Gt", ">", operator.gt),
        ("GtE", ">=", operator.ge),
        ("BitOr", "|", operator.or_),
        ("BitXor", "^", operator.xor),
        ("BitAnd", "&", operator.and_),
        ("LShift", "<<", operator.lshift),
        ("RShift", ">>", operator.rshift),
        ("Add", "+", operator.add),
        ("Sub", "-", operator.sub),
        ("Mult", "*", operator.mul),
        ("Div", "/", operator.truediv),
        ("FloorDiv", "//", operator.floordiv),
        ("Mod", "%", operator.mod),
        ("MatMult", "@", operator.matmul),
        ("Pow", "**", operator.pow),
    )
}
UNARY: Mapping[str, Operator] = {
    "USub": Operator("-", operator.neg),
    "UAdd": Operator("+", operator.pos),
    "Invert": Operator("~", operator.invert),
}


class OutOfBounds(ValueError):
    """A number or a sequence is larger than any size or factor of a network."""


NUMBERS = int | float | torch.SymInt | torch.SymFloat  # an export traces with symbolic sizes
_PYTHON_NUMBERS: frozenset[type] = frozenset({int, float, bool})
_WITH_TENSORS = _PYTHON_NUMBERS | {Tensor, nn.Parameter}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


def apply(op: Operator, operands: list[Any]) -> Any:
    """Compute an operator.

    Args:
        op: An operator of `UNARY` or `BINARY`.
        operands: Tensors and numbers; strings, tuples and lists are added, repeated and compared.

    Raises:
        OutOfBounds: If a number or a sequence becomes too large.
        TypeError: For other operands.
    """
    # Each operator of a forward pass comes here, so that exact types are looked up before subclasses.
    types = {type(operand) for operand in operands}
    if types <= _WITH_TENSORS and not types <= _PYTHON_NUMBERS:
        return op.compute(*operands)
    if any(isinstance(operand, Tensor) for operand in operands):
        others = [operand for operand in operands if not isinstance(operand, Tensor | NUMBERS)]
        if others:
            raise TypeError(
                f"`{op.symbol}` does not combine a tensor with a value of type {type(others[0]).__name__}."
            )
        return op.compute(*operands)
    if types <= _PYTHON_NUMBERS or all(isinstance(operand, NUMBERS) for operand in operands):
        # Check the exponent first: the power itself could take for ever to compute.
        if op.symbol in ("**", "<<") and abs(operands[1]) > MAX_EXPONENT:
            raise OutOfBounds(f"An exponent of a number is at most {MAX_EXPONENT}.")
        return bounded(op.compute(*operands))
    if len(operands) == 2:
        return _apply_to_sequences(op, *operands)
    raise TypeError(f"`{op.symbol}` accepts tensors and numbers, not {type(operands[0]).__name__}.")


def _apply_to_sequences(op: Operator, left: Any, right: Any) -> Any:
    if op.symbol in ("==", "!="):
        # Nested lists may contain themselves so often that a comparison would take for ever.
        return op.compute(bounded(left), bounded(right))
    for types in (str, list, tuple):
        if (
            isinstance(left, types)
            and isinstance(right, types)
            and (op.symbol == "+" or op.symbol in COMPARISONS)
        ):
            return bounded(op.compute(bounded(left), bounded(right)))
    sequence, count = (right, left) if isinstance(left, int) else (left, right)
    if op.symbol == "*" and isinstance(sequence, str | list | tuple) and isinstance(count, int):
        # Check the length first: `[0] * 10**9` would be allocated before its length could be checked.
        if len(sequence) * max(count, 0) > MAX_SEQUENCE_LENGTH:
            raise OutOfBounds(f"The sequence is too long: at most {MAX_SEQUENCE_LENGTH:,} elements.")
        return bounded(op.compute(left, right))
    if isinstance(left, set) and isinstance(right, set) and op.symbol in ("|", "&", "-", "^"):
        return op.compute(left, right)
    types_ = " and ".join(type(operand).__name__ for operand in (left, right))
    raise TypeError(f"`{op.symbol}` accepts tensors and numbers, not {types_}.")


def bounded(value: Any) -> Any:
    """Return a value unchanged after checking its size.

    Raises:
        OutOfBounds: If it is complex, an integer beyond `MAX_INTEGER`, or a sequence longer than
            `MAX_SEQUENCE_LENGTH`, nested elements included.
    """
    if type(value) is Tensor:
        return value
    if isinstance(value, complex):
        raise OutOfBounds("The result is not a real number.")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise OutOfBounds("The number is too large: at most 2**53.")
    if isinstance(value, str) and len(value) > MAX_SEQUENCE_LENGTH:
        raise OutOfBounds(f"The string is too long: at most {MAX_SEQUENCE_LENGTH:,} characters.")
    if isinstance(value, tuple | list | dict) and _count_elements(value) > MAX_SEQUENCE_LENGTH:
        raise OutOfBounds(
            f"The sequence is too long: at most {MAX_SEQUENCE_LENGTH:,} elements, with those of its elements."
        )
    return value


def _count_elements(sequence: Collection[Any]) -> int:
    """Count the elements of a sequence and of the sequences in it, up to just above the maximum.

    An element that occurs several times counts each time: `n = (n, n)` doubles the number, and so the time of
    everything that visits all elements.
    """
    count, waiting = 0, [sequence]
    while waiting and count <= MAX_SEQUENCE_LENGTH:
        elements = waiting.pop()
        count += len(elements)
        values = elements.values() if isinstance(elements, dict) else elements
        waiting += [each for each in values if isinstance(each, tuple | list | dict)]
    return count
