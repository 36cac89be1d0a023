"""A traced graph of ATen operators as a function of JAX arrays."""

from collections.abc import Callable, Iterable, Mapping
from operator import getitem
from typing import Any

import jax.numpy as jnp
import torch
from jax import Array
from torch import fx

from service.training.engines.compiled.operators import OPERATORS

# How a tensor lies in memory is not a matter of the graph's.
_LAYOUT = frozenset({"device", "layout", "memory_format", "non_blocking", "pin_memory", "implicit"})
_DTYPES: Mapping[torch.dtype, Any] = {
    torch.bool: jnp.bool_,
    torch.float32: jnp.float32,
    torch.float64: jnp.float64,
    torch.int16: jnp.int16,
    torch.int32: jnp.int32,
    torch.int64: jnp.int64,
    torch.int8: jnp.int8,
    torch.uint8: jnp.uint8,
}


def array_dtype(tensor: torch.Tensor) -> Any:
    """The dtype of a tensor as an array."""
    return _DTYPES[tensor.dtype]


def operator_name(node: fx.Node) -> str:
    """How the table calls the operator of a call: `add.Tensor`, `mm`."""
    overload: Any = node.target
    return str(overload).removeprefix("aten.").removesuffix(".default")


def untranslatable(graph: fx.Graph) -> list[str]:
    """The operators of a graph that the table lacks, each once."""
    return list(dict.fromkeys(_missing(graph.nodes)))


def _missing(nodes: Iterable[fx.Node]) -> Iterable[str]:
    for node in nodes:
        if node.op == "get_attr":
            yield "a constant tensor"
        elif node.op == "call_function" and node.target is not getitem:
            name = operator_name(node)
            if name not in OPERATORS:
                yield name


def translated(graph: fx.Graph) -> Callable[..., list[Any]]:
    """The function of a graph whose operators are all in the table: arrays in, arrays (or None) out."""

    def function(*inputs: Array) -> list[Any]:
        values: dict[fx.Node, Any] = {}
        given = iter(inputs)
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = next(given)
            elif node.op == "call_function":
                values[node] = _call(node, values)
        (output,) = (node for node in graph.nodes if node.op == "output")
        return list(_resolved(output.args[0], values))

    return function


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    arguments = [_resolved(argument, values) for argument in node.args]
    if node.target is getitem:
        return getitem(*arguments)
    named = {name: _resolved(value, values) for name, value in node.kwargs.items() if name not in _LAYOUT}
    return _as_traced(OPERATORS[operator_name(node)](*arguments, **named), node.meta["val"])


def _resolved(argument: Any, values: Mapping[fx.Node, Any]) -> Any:
    """An argument of a call with arrays in the place of nodes."""
    if isinstance(argument, fx.Node):
        return values[argument]
    if isinstance(argument, list | tuple):
        return [_resolved(each, values) for each in argument]
    return _DTYPES[argument] if isinstance(argument, torch.dtype) else argument


def _as_traced(value: Any, seen: Any) -> Any:
    """A result with the dtype that PyTorch gave it; the promotion of JAX differs here and there."""
    if isinstance(seen, list | tuple):
        return [_as_traced(each, one) for each, one in zip(value, seen, strict=True)]
    if value is None or seen is None:
        return None
    if value.shape != seen.shape:
        raise ValueError(f"JAX gives {value.shape} where PyTorch gives {tuple(seen.shape)}")
    return value.astype(array_dtype(seen))
