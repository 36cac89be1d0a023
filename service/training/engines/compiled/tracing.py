"""Traces of one training step as graphs of ATen operators.

A step is traced on the meta device, so that nothing is allocated or computed, and in two passes. The first
records the operators that PyTorch dispatches, backward pass included; their number is what a step costs the
eager engine. The second pass runs the recorded graph again without mutations (`functionalize`) and decomposed
into core ATen, the small set of operators that the others are made of.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import core_aten_decompositions
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import (
    FakeTensorMode,
)
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from service.architectures.text.program import unsaved_tensors
from service.datasets.samples import Samples
from service.training.engines.compiled.draws import Draw, lift_draws
from service.training.engines.compiled.layers import traceable_layers
from service.training.engines.compiled.recurrences import RecurrencesAsOperators
from service.training.expression_loss import differentiates, with_gradients
from service.training.output_roles import SINGLE_OUTPUT, OutputRoles
from service.training.weighted_loss import WeightedLoss

# Positions of arguments of `aten::native_batch_norm`.
_RUNNING_MEAN, _TRAINING = 3, 5
CONSTANT = "a constant tensor"
LOSS, UNSAVED = "loss:", "unsaved:"  # prefixes; names of parameters and buffers have no colon
INPUT = "an input"
UNTRACEABLE = (RuntimeError, ValueError)
"""What `trace` raises for operators that have no shapes before they are computed, or read values."""


@dataclass(frozen=True)
class Trace:
    """The graph of one pass over a batch.

    Its inputs are the tensors of `named_tensors`, then the inputs of the batch, then the other arguments of
    the loss (`Samples.loss_arguments`), then `constants`. Its outputs are the loss [], the model's outputs,
    if requested the gradients, of a `WeightedLoss` the weight [] of the batch, and last the new values of the
    tensors that the pass writes into, such as running statistics.

    Attributes:
        graph: The graph of core ATen operators.
        trained: Names of the parameters that the loss depends on, in the order of their gradients.
        outputs: The model's outputs by name, on the meta device or fake ones.
        eager_operators: Number of operators that PyTorch dispatches in the pass.
        written: Names of the tensors that the pass writes into; `INPUT` for an argument of the pass.
        constants: Tensors that a text makes of numbers, as `torch.tensor([1.0, 2.0])` does.
    """

    graph: fx.Graph
    trained: tuple[str, ...]
    outputs: Mapping[str, Tensor]
    eager_operators: int
    written: tuple[str, ...]
    constants: tuple[Tensor, ...] = ()
    draws: tuple[Draw, ...] = ()


def trace(
    model: nn.Module,
    loss_fn: nn.Module,
    samples: Samples,
    gradients: bool,
    roles: OutputRoles = SINGLE_OUTPUT,
    precision: str = "float32",
) -> Trace:
    """Trace one pass over a batch.

    Args:
        model: The model on any device, in the mode to trace (train or eval).
        loss_fn: The module that computes the loss.
        samples: A batch; only shapes and dtypes matter.
        gradients: Whether to trace the backward pass too.
        roles: The outputs of the model that the loss takes.
        precision: `float32`, or `bfloat16` for forward pass and loss under autocast.

    Raises:
        NotImplementedError: An operator has no meta kernel, or makes a constant without values.
    """
    tensors = named_tensors(model, loss_fn)
    places = [*_places(model)]
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    is_rounded = precision == "bfloat16"
    # Filled while `run` is traced.
    trained: list[str] = []
    outputs: dict[str, Tensor] = {}

    def run(state: list[Tensor], inputs: list[Tensor], loss_arguments: list[Tensor]) -> list[Tensor]:
        named = dict(zip(tensors, state, strict=True))
        passed = with_gradients(tuple(inputs)) if differentiates(loss_fn) else tuple(inputs)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_rounded):
            result = functional_call(
                model, {place: named[name] for place, name in places}, passed, tie_weights=False
            )
            outputs.clear()
            outputs.update(roles.layout.named(result))
            predicted = roles.predicted(outputs, passed)
            arguments = (predicted, *loss_arguments)
            loss: Tensor = functional_call(loss_fn, _of_loss(named), arguments)
        weight = [loss_fn.total_weight(*loss_arguments)] if isinstance(loss_fn, WeightedLoss) else []
        if not gradients:
            return [loss, *outputs.values(), *weight]
        wanted = [named[name] for name in trainable]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        trained[:] = [name for name, each in zip(trainable, found, strict=True) if each is not None]
        return [loss, *outputs.values(), *(each for each in found if each is not None), *weight]

    # Autocast has no policy for the meta device; fake tensors follow that of the CPU.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    like = partial(_fake, mode) if is_rounded else _meta
    state = [like(x).requires_grad_(name in trainable) for name, x in tensors.items()]
    inputs, loss_arguments = ([like(x) for x in part] for part in (samples.inputs, samples.loss_arguments))
    # Attention in operators of its formula: the fused ones of a device are single kernels.
    with (
        traceable_layers(model),
        sdpa_kernel(SDPBackend.MATH),
        RecurrencesAsOperators(),
        # Without it, `make_fx` makes a mode for each value, and each mode extracts the stack.
        tracing(TracingContext(mode)),
    ):
        recorded = make_fx(run)(state, inputs, loss_arguments)
    constants = _lift_constants(recorded, list(tensors.values()))
    _declare_statistics(recorded.graph)
    draws = lift_draws(recorded.graph)
    drawn = (torch.empty(draw.shape, dtype=draw.dtype, device="meta") for draw in draws)
    flat = [*(x.detach() for x in state), *inputs, *loss_arguments, *map(like, [*constants, *drawn])]
    pure = make_fx(
        functionalize(lambda *values: fx.Interpreter(recorded).run(*values)),
        decomposition_table=_decompositions(),
        tracing_mode="fake",
    )(*flat)
    written = _return_written(pure.graph, [*tensors])
    pure.graph.eliminate_dead_code()
    calls = sum(node.op == "call_function" for node in recorded.graph.nodes)
    return Trace(pure.graph, tuple(trained), outputs, calls, written, constants, draws)


def _lift_constants(recorded: fx.GraphModule, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Replace the tensors that a recorded graph holds by inputs.

    Those of the model (`unsaved_tensors`) become the inputs that the graph has for them; the others become
    further inputs, behind those of the graph.

    Args:
        recorded: The graph, which is changed.
        state: The tensors of the graph's first inputs.

    Returns:
        The tensors of the further inputs.

    Raises:
        NotImplementedError: One of them has no values.
    """
    graph = recorded.graph
    placeholders = list(graph.find_nodes(op="placeholder"))
    of_state = {id(tensor): node for tensor, node in zip(state, placeholders, strict=False)}
    further: dict[str, fx.Node] = {}
    constants: list[Tensor] = []
    for node in graph.find_nodes(op="get_attr"):
        tensor: Tensor = getattr(recorded, str(node.target))
        if id(tensor) in of_state:
            replacement = of_state[id(tensor)]
        elif tensor.is_meta:
            raise NotImplementedError(CONSTANT)
        else:
            if str(node.target) not in further:
                constants.append(tensor)
                with graph.inserting_after(placeholders[-1]):
                    placeholders.append(graph.placeholder(f"constant_{len(constants)}"))
                further[str(node.target)] = placeholders[-1]
            replacement = further[str(node.target)]
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
    recorded.recompile()
    return tuple(constants)


def _places(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Iterate over the tensors of each module once, as pairs of a name there and the name in the model.

    Modules may share a tensor, and the model may have one module under several names. For the latter,
    `functional_call` with `tie_weights` would leave its own tensors behind in the module.
    """
    names = {id(x): name for name, x in chain(model.named_parameters(), model.named_buffers())}
    for path, module in model.named_modules():
        for own in (module.named_parameters, module.named_buffers):
            for place, tensor in own(path, recurse=False, remove_duplicate=False):
                yield place, names[id(tensor)]


def _of_loss(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the loss by their own names."""
    return {name.removeprefix(LOSS): x for name, x in tensors.items() if name.startswith(LOSS)}


def _declare_statistics(graph: fx.Graph) -> None:
    """Replace batch norms that update running statistics by the operator whose schema says so.

    PyTorch dispatches `native_batch_norm`: `functionalize` does not know that it writes.
    """
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.native_batch_norm.default):
        if node.args[_TRAINING] and node.args[_RUNNING_MEAN] is not None:
            node.target = torch.ops.aten._native_batch_norm_legit.default


def _return_written(graph: fx.Graph, names: Sequence[str]) -> tuple[str, ...]:
    """Turn writes into inputs of a graph without other mutations into its last outputs.

    Args:
        graph: The graph, which copies the new value of an input into it at the end.
        names: Names of the first inputs.

    Returns:
        The names of the inputs that are written, in the order of the outputs.
    """
    placeholders = graph.find_nodes(op="placeholder")
    (output,) = graph.find_nodes(op="output")
    values, written = [], []
    for write in graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
        position = placeholders.index(write.args[0])
        written.append(names[position] if position < len(names) else INPUT)
        values.append(write.args[1])
        graph.erase_node(write)
    output.args = ([*output.args[0], *values],)
    return tuple(written)


def named_tensors(model: nn.Module, loss_fn: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that a pass reads beside its samples.

    These are parameters and buffers of the model, its `unsaved_tensors` by number with the prefix `unsaved:`,
    and the buffers of the loss with the prefix `loss:`.
    """
    unsaved = {f"{UNSAVED}{number}": tensor for number, tensor in enumerate(unsaved_tensors(model))}
    of_loss = {f"{LOSS}{name}": buffer for name, buffer in loss_fn.named_buffers()}
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **unsaved, **of_loss}


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta").detach()


def _fake(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    with mode:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


@cache
def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    return {
        **core_aten_decompositions(),
        torch.ops.aten._weight_norm_interface.default: _weight_norm,
        torch.ops.aten._weight_norm_interface_backward.default: (
            torch.ops.aten._weight_norm_differentiable_backward.default
        ),
    }


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Compute g · v / ‖v‖ and the norms. PyTorch's decomposition takes a single norm of a vector v."""
    norms = torch.norm_except_dim(v, 2, dim)
    return v * (g / norms), norms
