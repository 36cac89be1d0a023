"""Functions and methods that a forward text may call.

The table excludes functions that write into their argument, whose result's shape depends on values
(`nonzero`, `item`), that reach beyond tensors (files, devices, autograd), and losses.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fitserve.describe.functions import TENSOR_FUNCTIONS, Function


def _of_numbers(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Restrict a function to Python numbers; reading a tensor's value would block on its device."""

    def compute_numbers(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, int | float):
                raise TypeError(f"The arguments must be numbers, such as sizes, not {type(value).__name__}.")
        return compute(*values)

    return compute_numbers


def _length(value: Any) -> int:
    if isinstance(value, Tensor | tuple | list):
        return len(value)
    raise TypeError(f"A value of type {type(value).__name__} has no length.")


FUNCTIONS: Mapping[str, Function] = {
    **TENSOR_FUNCTIONS,
    **{
        name: Function.parse(name, target, signature)
        for name, target, signature in (
            ("len", _length, "value"),
            ("int", _of_numbers(int), "number"),
            ("float", _of_numbers(float), "number"),
            ("abs", abs, "value"),
            ("min", _of_numbers(min), "first, second"),
            ("max", _of_numbers(max), "first, second"),
            ("math.sqrt", _of_numbers(math.sqrt), "number"),
            ("math.log", _of_numbers(math.log), "number"),
            ("math.exp", _of_numbers(math.exp), "number"),
            ("math.floor", _of_numbers(math.floor), "number"),
            ("math.ceil", _of_numbers(math.ceil), "number"),
        )
    },
}
