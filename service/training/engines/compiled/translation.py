"""Translation of traced graphs of ATen operators to functions of JAX arrays."""

from collections.abc import Callable, Iterable, Mapping
from operator import getitem
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import Array
from torch import fx
from torch.utils import _pytree as pytree

from service.training.engines.compiled.operators import OPERATORS
from service.training.engines.compiled.tracing import CONSTANT

# Arguments about memory, which XLA decides itself.
_LAYOUT = frozenset({"device", "layout", "memory_format", "non_blocking", "pin_memory", "implicit"})
# Operators that add up products of bfloat16 in float32 by themselves, on a GPU much faster.
_PRODUCTS = frozenset({"addmm", "baddbmm", "bmm", "convolution", "mm"})
# Operators that view the storage of their first argument, which an array does not have.
_OF_STORAGE = frozenset({"as_strided", "as_strided_scatter"})
_DTYPES: Mapping[torch.dtype, Any] = {
    torch.bfloat16: jnp.bfloat16,
    torch.bool: jnp.bool_,
    torch.complex64: jnp.complex64,
    torch.complex128: jnp.complex128,
    torch.float32: jnp.float32,
    torch.float64: jnp.float64,
    torch.int16: jnp.int16,
    torch.int32: jnp.int32,
    torch.int64: jnp.int64,
    torch.int8: jnp.int8,
    torch.uint8: jnp.uint8,
}


def array_dtype(tensor: torch.Tensor) -> Any:
    """Return the dtype of a tensor as a JAX dtype."""
    return _DTYPES[tensor.dtype]


def operator_name(node: fx.Node) -> str:
    """Return the name of a node's operator in `OPERATORS`, such as `add.Tensor` or `mm`."""
    overload: Any = node.target
    return str(overload).removeprefix("aten.").removesuffix(".default")


def untranslatable(graph: fx.Graph) -> list[str]:
    """Return the names of a graph's operators that are not in `OPERATORS`, each once."""
    return list(dict.fromkeys(_missing(graph.nodes)))


def _missing(nodes: Iterable[fx.Node]) -> Iterable[str]:
    for node in nodes:
        if node.op == "get_attr":
            yield CONSTANT
        elif node.op == "call_function" and node.target is not getitem:
            name = operator_name(node)
            if name not in OPERATORS or (name in _OF_STORAGE and not _views_whole(node)):
                yield name
        yield from _unknown_dtypes(node)


def _views_whole(node: fx.Node) -> bool:
    """Return whether the first argument's elements are its whole storage, in their order."""
    (viewed, *_) = node.all_input_nodes
    tensor = viewed.meta["val"]
    size = tensor.untyped_storage().nbytes()
    return bool(tensor.is_contiguous() and tensor.storage_offset() == 0 and size == tensor.nbytes)


def _unknown_dtypes(node: fx.Node) -> Iterable[str]:
    """Iterate over the dtypes of a node that arrays do not have; inputs are not complex."""
    for value in pytree.tree_leaves(node.meta.get("val")):
        if isinstance(value, torch.Tensor):
            is_complex_input = node.op == "placeholder" and value.is_complex()
            if value.dtype not in _DTYPES or is_complex_input:
                yield str(value.dtype)


def translated(graph: fx.Graph) -> Callable[..., list[Any]]:
    """Return the function of a graph whose operators are all in `OPERATORS`.

    It takes the graph's inputs as arrays and returns its outputs as arrays or None. It interprets the graph
    node by node, which happens once, when JAX traces it.
    """

    def function(*inputs: Array) -> list[Any]:
        values: dict[fx.Node, Any] = {}
        placeholders = iter(inputs)
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = next(placeholders)
            elif node.op == "call_function":
                values[node] = _call(node, values)
        (output,) = (node for node in graph.nodes if node.op == "output")
        return list(_resolved(output.args[0], values))

    return function


def _call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    arguments = [_resolved(argument, values) for argument in node.args]
    if node.target is getitem:
        return getitem(*arguments)
    keywords = {name: _resolved(value, values) for name, value in node.kwargs.items() if name not in _LAYOUT}
    name = operator_name(node)
    if name not in _PRODUCTS:
        arguments = jax.tree.map(_widened, arguments)
    return _cast_as_traced(OPERATORS[name](*arguments, **keywords), node.meta.get("val"))


def _widened(argument: Any) -> Any:
    """Convert bfloat16 to float32: PyTorch computes an operator in float32 and rounds its result."""
    is_rounded = isinstance(argument, Array) and argument.dtype == jnp.bfloat16
    return argument.astype(jnp.float32) if is_rounded else argument


def _resolved(argument: Any, values: Mapping[fx.Node, Any]) -> Any:
    """Replace the nodes in an argument of a call with their arrays."""
    if isinstance(argument, fx.Node):
        return values[argument]
    if isinstance(argument, list | tuple):
        return [_resolved(each, values) for each in argument]
    return _DTYPES[argument] if isinstance(argument, torch.dtype) else argument


def _cast_as_traced(value: Any, traced: Any) -> Any:
    """Cast a result to the dtype that PyTorch traced; type promotion in JAX differs in some cases.

    Raises:
        ValueError: The shapes differ.
    """
    if isinstance(traced, list | tuple):
        return [_cast_as_traced(each, one) for each, one in zip(value, traced, strict=True)]
    if value is None or traced is None:
        return None
    if callable(value):  # the backward pass of a recurrence
        return value
    if not traced.numel():  # PyTorch leaves some results that nothing reads empty
        return jnp.zeros(traced.shape, array_dtype(traced))
    if value.shape != traced.shape:
        raise ValueError(f"JAX computed the shape {value.shape}, PyTorch {tuple(traced.shape)}.")
    return value.astype(array_dtype(traced))
