"""One training step of a model as a graph of ATen operators.

The step is traced on the meta device, so that nothing is allocated or computed, twice: first as PyTorch
records it, backward pass included; then without mutations and in core ATen, the small set of operators
that the others are made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import core_aten_decompositions
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx

LOSS = "loss:"  # no parameter's name has a colon


@dataclass(frozen=True)
class Trace:
    """What one pass over a batch computes, as a graph.

    Its inputs are the tensors of model and loss as `named_tensors` has them, then the batch's inputs and its
    targets; its outputs the loss, the model's output and, where they are asked for, the gradients.

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
    loss_fn: nn.Module,
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
    tensors, parameters = named_tensors(model, loss_fn), dict(model.named_parameters())
    own = len(tensors) - len(dict(loss_fn.named_buffers()))
    trained: list[str] = []
    outputs: list[Tensor] = []

    def run(state: list[Tensor], inputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        named = dict(zip(tensors, state, strict=True))
        output = functional_call(model, dict(islice(named.items(), own)), tuple(inputs))
        outputs[:] = [output]
        of_loss = {name.removeprefix(LOSS): x for name, x in islice(named.items(), own, None)}
        loss: Tensor = functional_call(loss_fn, of_loss, (output, targets))
        if not gradients:
            return [loss, output]
        wanted = state[: len(parameters)]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        trained[:] = [name for name, each in zip(parameters, found, strict=True) if each is not None]
        return [loss, output, *(each for each in found if each is not None)]

    state = [_meta(x).requires_grad_(name in parameters) for name, x in tensors.items()]
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


def named_tensors(model: nn.Module, loss_fn: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a model, then the loss's buffers, which begin with `loss:`."""
    of_loss = {f"{LOSS}{name}": buffer for name, buffer in loss_fn.named_buffers()}
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **of_loss}


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta").detach()


@cache
def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    return dict(core_aten_decompositions().items())  # type: ignore[no-untyped-call]
