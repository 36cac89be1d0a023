"""One training step of a model as a graph of ATen operators.

The step is traced on the meta device, so that nothing is allocated or computed, twice: first as PyTorch
records it, backward pass included; then without mutations and in core ATen, the small set of operators
that the others are made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import core_aten_decompositions
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Trace:
    """What one pass over a batch computes, as a graph.

    Its inputs are the parameters, then the buffers, both in the model's order, then the batch's inputs and
    its targets; its outputs the loss, the model's output and, where they are asked for, the gradients.

    Attributes:
        graph: of ATen operators.
        trained: the names of the parameters that the loss depends on, in the order of their gradients.
        output: the model's, on the meta device.
        eager_operators: operators that PyTorch dispatches in such a pass.
    """

    graph: fx.Graph
    trained: tuple[str, ...]
    output: Tensor
    eager_operators: int


def trace(
    model: nn.Module,
    loss_fn: LossFunction,
    inputs: Sequence[Tensor],
    targets: Tensor,
    gradients: bool,
) -> Trace:
    """The graph of one pass over a batch.

    Args:
        model: on any device, in the mode that is meant (train or eval).
        inputs, targets: a batch, of which only shapes and dtypes matter.
        gradients: whether to go backward too.
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    names = [*parameters, *buffers]
    trained: list[str] = []
    outputs: list[Tensor] = []

    def run(state: list[Tensor], inputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        output = functional_call(model, dict(zip(names, state, strict=True)), tuple(inputs))
        outputs[:] = [output]
        loss = loss_fn(output, targets)
        if not gradients:
            return [loss, output]
        wanted = state[: len(parameters)]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        trained[:] = [name for name, each in zip(parameters, found, strict=True) if each is not None]
        return [loss, output, *(each for each in found if each is not None)]

    state = [_meta(x).requires_grad_(name in parameters) for name, x in (parameters | buffers).items()]
    batch = [_meta(x) for x in inputs]
    recorded = make_fx(run)(state, batch, _meta(targets))
    flat = [x.detach() for x in state] + batch + [_meta(targets)]
    pure = make_fx(
        functionalize(lambda *values: fx.Interpreter(recorded).run(*values)),
        decomposition_table=_decompositions(),
        tracing_mode="fake",
    )(*flat)
    pure.graph.eliminate_dead_code()
    calls = sum(node.op == "call_function" for node in recorded.graph.nodes)
    return Trace(pure.graph, tuple(trained), outputs[0], calls)


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta").detach()


@cache
def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    return dict(core_aten_decompositions().items())  # type: ignore[no-untyped-call]
