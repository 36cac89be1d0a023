"""Operations that change a tensor in place, written as operations that return a new one.

Both give the same numbers unless another value shares memory with the changed tensor and is read afterwards.
"""

import operator
from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from fitserve.describe.functions import ONE_TENSOR, TENSOR_FUNCTIONS
from fitserve.describe.layers import FAMILIES

# Operators that change their first operand, and those that return a new value.
IN_PLACE_OPERATORS: Mapping[Any, Any] = {
    **{operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul},
    **{
        operator.itruediv: operator.truediv,
        operator.ifloordiv: operator.floordiv,
        operator.imod: operator.mod,
    },
    **{operator.ipow: operator.pow, operator.imatmul: operator.matmul},
    **{operator.iand: operator.and_, operator.ior: operator.or_, operator.ixor: operator.xor},
}
_ARITHMETIC = frozenset(
    {
        *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod),
        *(operator.matmul, operator.pow, operator.neg, operator.eq, operator.ne, operator.lt, operator.le),
        *(operator.gt, operator.ge, operator.and_, operator.or_, operator.xor, operator.invert),
    }
)
# Functions whose result shares no memory with an argument. Others might return a view, or the argument.
_FRESH_NAMES = frozenset(
    {
        *ONE_TENSOR.split(),
        *(
            "add",
            "sub",
            "mul",
            "div",
            "pow",
            "matmul",
            "mm",
            "bmm",
            "addmm",
            "baddbmm",
            "cat",
            "stack",
            "where",
        ),
        *(
            "sum",
            "mean",
            "softmax",
            "log_softmax",
            "maximum",
            "minimum",
            "zeros",
            "ones",
            "full",
            "rand",
            "randn",
        ),
        *("linear", "conv1d", "conv2d", "conv3d", "layer_norm", "group_norm", "embedding", "one_hot", "gelu"),
        *("silu", "elu", "leaky_relu", "zeros_like", "ones_like", "rand_like", "randn_like", "masked_fill"),
        *("size", "dim", "numel"),  # numbers
    }
)
_FRESH = frozenset(
    function.target for name, function in TENSOR_FUNCTIONS.items() if name.split(".")[-1] in _FRESH_NAMES
)
_FRESH_LAYERS = frozenset(
    name
    for family in ("linear", "activation", "convolution", "normalization", "embedding")
    for name in FAMILIES[family]
    if name != "Identity"
)
_NUMBERS = frozenset({"shape", "ndim", "dtype", "device"})


def changes_in_place(node: fx.Node) -> bool:
    """Return whether a node changes its first argument."""
    if node.op == "call_method":
        return new_tensor_method(node) != node.target
    return node.target in IN_PLACE_OPERATORS or node.kwargs.get("inplace") is True


def new_tensor_method(node: fx.Node) -> str:
    """Return the name of a called method, or of the one that returns a new tensor: `add` for `add_`."""
    name = str(node.target)
    return name if name.endswith("__") else name.removesuffix("_")


def change_is_visible(node: fx.Node, root: nn.Module) -> bool:
    """Return whether another value might show what an operation changes in place.

    Args:
        node: The operation.
        root: The traced module.
    """
    order = {each: position for position, each in enumerate(node.graph.nodes)}
    changed = node.args[0]
    if not isinstance(changed, fx.Node):
        return False
    sharing = _sharing(changed, order, order[node], root)
    return any(
        each.op in ("placeholder", "get_attr") or any(order[user] > order[node] for user in each.users)
        for each in sharing
    )


def _sharing(start: fx.Node, order: dict[fx.Node, int], end: int, root: nn.Module) -> set[fx.Node]:
    """Return the nodes before position `end` that might share memory with a node, itself included."""
    found, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        sources = _sources(node, root)
        views = [user for user in node.users if order[user] < end and node in _sources(user, root)]
        for each in {*sources, *views} - found:
            found.add(each)
            waiting.append(each)
    return found


def _sources(node: fx.Node, root: nn.Module) -> list[fx.Node]:
    """Return the nodes with which the value of a node might share memory."""
    if changes_in_place(node):
        return [node.args[0]] if isinstance(node.args[0], fx.Node) else []
    return [] if _is_fresh(node, root) else node.all_input_nodes


def _is_fresh(node: fx.Node, root: nn.Module) -> bool:
    """Return whether the value of a node shares no memory with its arguments."""
    target: Any = node.target
    if node.op == "call_module":
        layer = root.get_submodule(target)
        return type(layer).__name__ in _FRESH_LAYERS and not getattr(layer, "inplace", False)
    if node.op == "call_method":
        return target in _FRESH_NAMES
    if target is getattr:
        return node.args[1] in _NUMBERS
    return target in _ARITHMETIC or target in _FRESH
