"""The operators of a forward text: on tensors PyTorch's, on Python's numbers within bounds."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

LARGEST_INTEGER = 2**53
LARGEST_EXPONENT = 64
LONGEST_SEQUENCE = 1_024


@dataclass(frozen=True)
class Operator:
    """An operator, as it is written.

    Attributes:
        precedence: the larger, the tighter it binds, as in Python.
    """

    symbol: str
    compute: Callable[..., Any]
    precedence: int


BINARY: Mapping[str, Operator] = {
    name: Operator(symbol, compute, precedence)
    for name, symbol, compute, precedence in (
        ("Eq", "==", operator.eq, 1),
        ("NotEq", "!=", operator.ne, 1),
        ("Lt", "<", operator.lt, 1),
        ("LtE", "<=", operator.le, 1),
        ("Gt", ">", operator.gt, 1),
        ("GtE", ">=", operator.ge, 1),
        ("BitOr", "|", operator.or_, 2),
        ("BitXor", "^", operator.xor, 3),
        ("BitAnd", "&", operator.and_, 4),
        ("Add", "+", operator.add, 5),
        ("Sub", "-", operator.sub, 5),
        ("Mult", "*", operator.mul, 6),
        ("Div", "/", operator.truediv, 6),
        ("FloorDiv", "//", operator.floordiv, 6),
        ("Mod", "%", operator.mod, 6),
        ("MatMult", "@", operator.matmul, 6),
        ("Pow", "**", operator.pow, 8),
    )
}
"""By the name of Python's syntax node."""

UNARY: Mapping[str, Operator] = {
    "USub": Operator("-", operator.neg, 7),
    "UAdd": Operator("+", operator.pos, 7),
    "Invert": Operator("~", operator.invert, 7),
}


class OutOfBounds(ValueError):
    """A value that no size or factor of a network needs."""


def apply(symbol: Operator, operands: list[Any]) -> Any:
    """The result of an operator.

    Raises:
        OutOfBounds: when Python's numbers grow beyond bounds.
        TypeError: for operands that are neither tensors nor numbers; tuples can be joined and compared.
    """
    if any(isinstance(operand, Tensor) for operand in operands):
        others = [operand for operand in operands if not isinstance(operand, Tensor | int | float)]
        if others:
            raise TypeError(f"A tensor and a {type(others[0]).__name__} have no `{symbol.symbol}`.")
        return symbol.compute(*operands)
    if all(isinstance(operand, int | float) for operand in operands):
        _check_power(symbol, operands)
        return bounded(symbol.compute(*operands))
    if symbol.symbol in ("+", "==", "!=") and all(isinstance(operand, tuple | list) for operand in operands):
        return bounded(symbol.compute(*operands))
    kinds = " and ".join(type(operand).__name__ for operand in operands)
    raise TypeError(f"`{symbol.symbol}` takes tensors and numbers, and not {kinds}.")


def _check_power(symbol: Operator, operands: list[Any]) -> None:
    if symbol.symbol == "**" and abs(operands[1]) > LARGEST_EXPONENT:
        raise OutOfBounds(f"Exponents of numbers are at most {LARGEST_EXPONENT}.")


def bounded(value: Any) -> Any:
    """A number or a sequence, when it is not beyond bounds.

    Raises:
        OutOfBounds: when it is.
    """
    if isinstance(value, complex):
        raise OutOfBounds("The result is not a real number.")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise OutOfBounds("The number is too large: at most 2**53.")
    if isinstance(value, tuple | list) and len(value) > LONGEST_SEQUENCE:
        raise OutOfBounds(f"The sequence is too long: at most {LONGEST_SEQUENCE} elements.")
    return value
