"""Buffers of a module: tensors that are computed once, from an expression in the syntax of `forward`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.errors import SourceLocation, forward_error
from service.architectures.text.forward import read_formula
from service.errors import FieldError
from service.specs.architecture import Constant

MAX_ELEMENTS = 2**22  # of a buffer and of each tensor that it is computed from: 16 MB of float32


def buffer_errors(text: str, constants: Mapping[str, Constant], pointer: str) -> list[FieldError]:
    """Return the errors of a buffer, which is computed on the meta device.

    Args:
        text: The expression.
        constants: Constants that it may read.
        pointer: Its JSON pointer in the request.
    """
    formula, errors = read_formula(text, constants)
    if formula is None:
        return [FieldError(pointer, str(error)) for error in errors]
    try:
        value = formula.compute(constants, torch.device("meta"), _SizeObserver())
    except _Refused as error:
        return [FieldError(pointer, str(error))]
    if not isinstance(value, Tensor):
        detail = f"A buffer is a tensor, and this is of type {type(value).__name__}; add it to `constants`."
        return [FieldError(pointer, detail)]
    return []


def make_buffer(text: str, constants: Mapping[str, Constant]) -> Tensor:
    """Compute a buffer on the default device.

    Args:
        text: An expression without `buffer_errors`.
        constants: Constants that it may read.
    """
    formula, _ = read_formula(text, constants)
    assert formula is not None
    value: Tensor = formula.compute(constants, torch.empty(()).device)
    return value.detach()


class _Refused(Exception):
    """A buffer cannot be computed."""


class _SizeObserver:
    """Limits the tensors of an expression."""

    def computed(self, location: SourceLocation, value: Any, operands: Any) -> None:
        """Check the size of a value.

        Raises:
            _Refused: If a tensor is too large.
        """
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor) and tensor.numel() > MAX_ELEMENTS:
                raise _Refused(
                    f"{location} makes {list(tensor.shape)}; the tensors of a buffer have at most "
                    f"{MAX_ELEMENTS:,} elements."
                )

    def failed(self, location: SourceLocation, error: Exception, operands: Any) -> Exception:
        """Return the error of an operation with its location."""
        return _Refused(str(forward_error(location, error, operands)))

    def refused(self, message: str) -> Exception:
        """Return the error of something that an expression may not do."""
        return _Refused(message)

    def layer(self, module: nn.Module) -> nn.Module:
        """Return a module as it is."""
        return module
