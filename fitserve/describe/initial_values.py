"""Initial values as specs express them: functions of torch.nn.init, and expressions of constant tensors."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

MAX_LITERAL_NUMBERS = 1_000  # of a tensor in a forward text; about half of the longest text
MAX_EXPRESSION_CHARACTERS = 1_000


def constant_init(tensor: Tensor) -> Any:
    """Return the initialization of a parameter whose values are equal; None if they are not."""
    values = tensor.detach().flatten()
    if not len(values) or not bool((values == values[0]).all()) or not bool(values[0].isfinite()):
        return None
    value = values[0].item()
    return {0.0: "zeros_", 1.0: "ones_"}.get(value, {"type": "constant_", "val": value})


def normal_init(tensor: Tensor) -> dict[str, Any]:
    """Return a normal distribution with the mean and the standard deviation of the values of a parameter."""
    values = tensor.detach().float()
    return {"type": "normal_", "mean": values.mean().item(), "std": values.std(correction=0).item()}


def buffer_expression(tensor: Tensor) -> str | None:
    """Return an expression in the syntax of `forward` of exactly a tensor; None without a short one."""
    tensor = tensor.detach().cpu()
    for text, value in _forms(tensor):
        if value.dtype == tensor.dtype and torch.equal(value, tensor):
            return text
    if tensor.numel() > MAX_EXPRESSION_CHARACTERS:
        return None
    text = literal(tensor)
    return text if len(text) <= MAX_EXPRESSION_CHARACTERS else None


def _forms(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Iterate over the forms that masks and positions usually have, with the expression of each."""
    shape, dtype = tuple(tensor.shape), tensor.dtype
    if tensor.is_complex():
        return
    if not tensor.numel():
        yield f"torch.zeros({shape}, dtype={dtype})", torch.zeros(shape, dtype=dtype)
        return
    first = tensor.flatten()[0].item()
    yield f"torch.full({shape}, {_number(first)}, dtype={dtype})", torch.full(shape, first, dtype=dtype)
    inner = [size for size in shape if size != 1]
    if len(inner) == 1 and dtype is not torch.bool:
        values = torch.arange(inner[0], dtype=dtype).view(shape)
        yield f"torch.arange(0, {inner[0]}, 1, dtype={dtype}).view({shape})", values
    if len(inner) == 2:
        rows, columns = inner
        size = f"{rows}, {columns}, dtype={dtype}"
        yield f"torch.eye({size}).view({shape})", torch.eye(rows, columns, dtype=dtype).view(shape)
        ones = torch.ones(rows, columns, dtype=dtype)
        for diagonal in (0, 1, -1):
            yield f"torch.tril(torch.ones({size}), {diagonal}).view({shape})", ones.tril(diagonal).view(shape)
            yield f"torch.triu(torch.ones({size}), {diagonal}).view({shape})", ones.triu(diagonal).view(shape)


def literal(tensor: Tensor) -> str:
    """Write a tensor with all its numbers."""
    return f"torch.tensor({_written(tensor.tolist())}, dtype={tensor.dtype})"


def _written(value: Any) -> str:
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else _number(value)


def _number(value: bool | int | float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "math.nan" if math.isnan(value) else ("math.inf" if value > 0 else "-math.inf")
    return repr(value)
