"""The functions and methods that a forward text may call.

The table excludes functions that write into their argument, whose result's shape depends on values
(`nonzero`, `item`), that reach beyond tensors (files, devices, autograd), and losses.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fitserve.describe.functions import TENSOR_FUNCTIONS, Function


def _scalar(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Restrict a function to Python numbers; reading a tensor's value would block on its device."""

    def checked(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, int | float):
                raise TypeError(f"It takes numbers, such as sizes, and not a {type(value).__name__}.")
        return compute(*values)

    return checked


def _length(value: Any) -> int:
    if isinstance(value, Tensor | tuple | list):
        return len(value)
    raise TypeError(f"A {type(value).__name__} has no length.")


FUNCTIONS: Mapping[str, Function] = {
    **TENSOR_FUNCTIONS,
    **{
        name: Function.parse(name, target, signature)
        for name, target, signature in (
            ("len", _length, "value"),
            ("int", _scalar(int), "number"),
            ("float", _scalar(float), "number"),
            ("abs", abs, "value"),
            ("min", _scalar(min), "first, second"),
            ("max", _scalar(max), "first, second"),
            ("math.sqrt", _scalar(math.sqrt), "number"),
            ("math.log", _scalar(math.log), "number"),
            ("math.exp", _scalar(math.exp), "number"),
            ("math.floor", _scalar(math.floor), "number"),
            ("math.ceil", _scalar(math.ceil), "number"),
        )
    },
}
