"""The work of one training step, counted on its trace."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import flop_registry

from service.training.engines.candidate import Candidate, Work
from service.training.engines.compiled.losses import traceable_loss
from service.training.engines.compiled.operators.convolution import is_shifted
from service.training.engines.compiled.recurrences import recurrent_work
from service.training.engines.compiled.tracing import UNTRACEABLE, Trace, named_tensors, trace
from service.training.engines.compiled.translation import untranslatable

# Operators with a function that takes much longer than a multiplication. XLA's sines take longest.
_SINES = frozenset(("cos", "sin", "tan"))
_FUNCTIONS = frozenset(
    (
        *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "digamma", "elu", "erf"),
        *("erfc", "erfinv", "exp", "exp2", "expm1", "gelu", "gelu_backward", "lgamma", "log", "log10"),
        *("log1p", "log2", "log_sigmoid_forward", "mish", "sigmoid", "silu", "sinh", "softplus"),
        *("special_erfcx", "special_ndtri", "tanh", "_log_softmax", "_softmax"),
    )
)
_CONVOLUTIONS = ("convolution", "convolution_backward")


def work_of(candidate: Candidate) -> Work:
    """Trace a step on one batch and count its work."""
    loss_fn, model = traceable_loss(candidate.loss_fn), candidate.model.train()
    try:
        found = _trace(candidate, loss_fn, gradients=True)
        evaluates_alike = not (found.draws or found.written) or _evaluates_alike(candidate, loss_fn)
    except UNTRACEABLE as error:
        return Work((_untraceable(error),))
    missing = (
        *untranslatable(found.graph),
        *_unsupported_writes(model, found),
        *_unsupported_dtypes(named_tensors(model, loss_fn), found),
    )
    nodes = [node for node in found.graph.nodes if node.op == "call_function"]
    convolutions = [_convolution(node) for node in nodes if _name(node) in _CONVOLUTIONS]
    recurrent = recurrent_work(found.graph)
    return Work(
        missing,
        operators=found.eager_operators + recurrent.operators,
        nodes=len(nodes),
        products=sum(_operations(node) for node in nodes if _name(node) not in _CONVOLUTIONS),
        convolution_calls=len(convolutions),
        convolutions=sum(each.operations for each in convolutions),
        patches=sum(each.patches for each in convolutions if each.is_shifted),
        unshifted=sum(each.operations for each in convolutions if not each.is_shifted),
        elements=sum(_elements(node) for node in nodes if _name(node) not in _FUNCTIONS | _SINES),
        functions=sum(_elements(node) for node in nodes if _name(node) in _FUNCTIONS),
        sines=sum(_elements(node) for node in nodes if _name(node) in _SINES),
        time_steps=recurrent.time_steps,
        recurrent_products=recurrent.operations,
        gates=recurrent.gates,
        drawn=sum(draw.elements for draw in found.draws),
        drawn_bytes=sum(draw.n_bytes for draw in found.draws),
        evaluates_alike=evaluates_alike,
    )


def _trace(candidate: Candidate, loss_fn: nn.Module, gradients: bool) -> Trace:
    precision = candidate.key.precision
    return trace(candidate.model, loss_fn, candidate.batch, gradients, candidate.roles, precision)


def _untraceable(error: Exception) -> str:
    """Return the name of the operator that has no meta kernel or needs values, or what the error says."""
    operator = re.search(r"aten(?:::|\.)(\w+)", str(error))
    return operator[1] if operator else str(error).partition("\n")[0]


def _evaluates_alike(candidate: Candidate, loss_fn: nn.Module) -> bool:
    """Return whether a validation neither draws random numbers nor writes into tensors."""
    candidate.model.eval()
    found = _trace(candidate, loss_fn, gradients=False)
    candidate.model.train()
    return not (found.draws or found.written)


def _unsupported_writes(model: nn.Module, found: Trace) -> Iterator[str]:
    """Iterate over writes into tensors that are not part of a program's state besides its parameters."""
    state = model.state_dict()
    for name in found.written:
        if name in found.trained or name not in state:
            yield f"copy_ into {name}"


def _unsupported_dtypes(tensors: Mapping[str, Tensor], found: Trace) -> Iterator[str]:
    """Iterate over the kinds of tensors that a program cannot take."""
    # NumPy, by way of which a program gets its tensors, has no such numbers.
    if any(draw.dtype is torch.bfloat16 for draw in found.draws):
        yield "random numbers in bfloat16"
    if any(x.dtype is torch.bfloat16 for x in tensors.values()):
        yield "parameters or buffers in bfloat16"
    if len({tensors[name].dtype for name in found.trained}) > 1:  # they are one vector
        yield "parameters of several dtypes"


def _name(node: fx.Node) -> str:
    """Return the name of an operator without its overload."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else str(node.target)


class _Convolution(NamedTuple):
    """A convolution of a trace, forward or backward.

    Attributes:
        operations: Its multiplications and additions.
        patches: Elements of its input as often as the kernel takes them, for each product with these.
        is_shifted: Whether a program computes it with shifted inputs.
    """

    operations: int
    patches: int
    is_shifted: bool


def _convolution(node: fx.Node) -> _Convolution:
    arguments: Any = fx.node.map_arg(node.args, lambda each: each.meta["val"])
    if _name(node) == "convolution_backward":
        output, x, weight, _, *options, wanted = arguments
        products = sum(wanted[:2])
    else:
        x, weight, _, *options = arguments
        output, products = node.meta["val"], 1
    transposed, groups = options[3], options[5]
    positions = output.numel() // output.shape[1]  # B · positions of a channel
    patches = positions * groups * math.prod(weight.shape[1:]) * products
    shifted = not transposed and is_shifted(x.shape, weight.shape)
    return _Convolution(_operations(node), patches, shifted)


def _operations(node: fx.Node) -> int:
    """Return the multiplications and additions of a node, as `torch.utils.flop_counter` counts them."""
    packet = getattr(node.target, "overloadpacket", None)
    if packet not in flop_registry:
        return 0
    arguments = fx.node.map_arg(node.args, lambda each: each.meta["val"])
    return int(flop_registry[packet](*arguments, out_val=node.meta["val"]))


def _elements(node: fx.Node) -> int:
    """Return the elements that an operator computes; 0 for a view and for a matrix product."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return 0
    if _operations(node) and _name(node) not in _CONVOLUTIONS:
        return 0
    is_view = any(each.alias_info is not None for each in node.target._schema.returns)
    if is_view or not node.all_input_nodes or node.target.namespace != "aten":
        return 0
    if torch.Tag.reduction in node.target.tags:
        return _size(node.all_input_nodes[0].meta["val"])
    return _size(node.meta["val"])


def _size(value: object) -> int:
    """Return the elements of a tensor, or of the largest of several."""
    if isinstance(value, Tensor):
        return math.prod(value.shape)
    return max(map(_size, value), default=0) if isinstance(value, list | tuple) else 0
