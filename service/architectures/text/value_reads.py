"""Reads of the values of tensors, by which the operations of a model may differ between two runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from service.architectures.text.errors import tensors_in

# Functions whose result depends on sizes, types and memory layout alone.
_METHODS = """
    __hash__ __len__ dim element_size get_device is_complex is_contiguous is_floating_point is_inference
    is_signed ndimension nelement numel size storage_offset stride type untyped_storage
"""
_ATTRIBUTES = """
    _version device dtype grad_fn is_cpu is_cuda is_leaf is_meta is_mkldnn is_mps is_nested is_quantized
    is_sparse is_sparse_csr is_xpu itemsize layout nbytes ndim output_nr requires_grad retains_grad
    shape
"""
_STATIC: frozenset[Any] = frozenset(
    {
        *(getattr(Tensor, name) for name in _METHODS.split()),
        *(getattr(Tensor, name).__get__ for name in _ATTRIBUTES.split()),
        *(torch.is_floating_point, torch.is_complex, torch.numel, torch.is_tensor, torch.is_inference),
    }
)


# They depend on how a tensor was computed, and on whether parameters are trained.
_AUTOGRAD: frozenset[Any] = frozenset(
    getattr(Tensor, name).__get__
    for name in ("_version", "grad_fn", "grad", "is_leaf", "output_nr", "requires_grad", "retains_grad")
)
# The shape of their result depends on values.
_RESIZING = """
    _pack_padded_sequence _pad_packed_sequence _unique _unique2 argwhere bincount combinations histc
    masked_select nonzero nonzero_static unique unique_consecutive unique_dim
""".split()  # noqa: SIM905


def reads_autograd(function: Any) -> bool:
    """Return whether a function of PyTorch reads how a tensor was computed."""
    return function in _AUTOGRAD


def resizes(function: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Return whether the shape of the result of a call may depend on the values of tensors."""
    name = getattr(function, "__name__", "")
    if name == "__getitem__":
        return any(each.dtype in (torch.bool, torch.uint8) for each in tensors_in(positional[1]))
    if name == "repeat_interleave":
        return len(list(tensors_in((positional, named)))) > 1 or (not positional[1:] and not named)
    return name in _RESIZING or (name == "where" and len(positional) + len(named) == 1)


def reads_values(function: Any, operands: Any, result: Any) -> bool:
    """Return whether a call of a function of PyTorch makes Python values of the values of tensors.

    Args:
        function: The function.
        operands: Its arguments.
        result: What it returned.
    """
    if result is None or function in _STATIC or next(tensors_in(result), None) is not None:
        return False
    return next(tensors_in(operands), None) is not None


class RandomReads(TorchFunctionMode):
    """Finds out whether values of tensors are read after random numbers were drawn.

    Attributes:
        found: Whether they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before = torch.get_rng_state()
        self.found = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if reads_values(func, (args, kwargs or {}), result):
            self.found = self.found or has_drawn(self._before)
        return result


def has_drawn(before: Tensor) -> bool:
    """Return whether the global generator has drawn numbers since it had a state."""
    with torch._C.DisableTorchFunction():  # this is no operation of the text
        return not torch.equal(before, torch.get_rng_state())
