"""Recurrent layers as single operators of a trace, instead of one group of operators for each time step.

`RecurrencesAsOperators` replaces the calls of PyTorch's recurrences while a step is traced: each layer and
direction becomes an operator `fitserve::recurrent_layer`; what is between layers (dropout, concatenation)
remains ordinary operators. The operators have shapes and gradients, but compute nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.overrides import TorchFunctionMode

_RECURRENCES: Mapping[Callable[..., Any], str] = {
    torch.gru: "gru",
    torch.lstm: "lstm",
    torch.rnn_relu: "rnn_relu",
    torch.rnn_tanh: "rnn_tanh",
}
# Operators that PyTorch dispatches for a time step, forward and backward. An LSTM without projection is one
# operator of oneDNN, whose time steps take as long as this number of operators.
_OPERATORS: Mapping[str, int] = {"gru": 12, "lstm": 3, "rnn_relu": 4, "rnn_tanh": 4}
# Functions such as tanh that a cell computes for an element of its state.
_FUNCTIONS: Mapping[str, int] = {"gru": 3, "lstm": 5, "rnn_relu": 0, "rnn_tanh": 1}
PACKED = "packed sequences"


@torch.library.custom_op("fitserve::recurrent_layer", mutates_args=())
def recurrent_layer(
    cell: str, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], reverse: bool
) -> list[Tensor]:
    """Run one direction of a layer; see `operators.recurrence`.

    Returns:
        The outputs, the final states, and an empty tensor that stands for what the backward pass needs.
    """
    raise NotImplementedError("It is only traced.")


@recurrent_layer.register_fake
def _(
    cell: str, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], reverse: bool
) -> list[Tensor]:
    outputs = x.new_empty(*x.shape[:2], states[0].shape[-1])
    return [outputs, *(torch.empty_like(each) for each in states), x.new_empty(0)]


@torch.library.custom_op("fitserve::recurrent_layer_backward", mutates_args=())
def recurrent_layer_backward(
    saved: Tensor, gradients: Sequence[Tensor], x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]
) -> list[Tensor]:
    """Return the gradients of inputs, initial states and weights."""
    raise NotImplementedError("It is only traced.")


@recurrent_layer_backward.register_fake
def _(
    saved: Tensor, gradients: Sequence[Tensor], x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]
) -> list[Tensor]:
    return [torch.empty_like(each) for each in (x, *states, *weights)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    _, x, states, weights, _ = inputs
    ctx.states = len(states)
    ctx.save_for_backward(output[-1], x, *states, *weights)


def _gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Any, ...]:
    saved, x, *others = ctx.saved_tensors
    states, weights = others[: ctx.states], others[ctx.states :]
    of_x, *of_others = recurrent_layer_backward(saved, list(gradients[:-1]), x, states, weights)
    return None, of_x, of_others[: ctx.states], of_others[ctx.states :], None


recurrent_layer.register_autograd(_gradients, setup_context=_save)


class RecurrencesAsOperators(TorchFunctionMode):
    """Replaces PyTorch's recurrences by `recurrent_layer` while it is active."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of PyTorch."""
        cell = _RECURRENCES.get(func) if callable(func) else None
        return func(*args, **(kwargs or {})) if cell is None else _recurrence(cell, *args)


def _recurrence(
    cell: str,
    x: Tensor,
    initial: Any,
    weights: Any,
    has_biases: Any,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool | None = None,
) -> tuple[Tensor, ...]:
    """Run all layers; the parameters are those of `torch.lstm`, where `initial` is a list of tensors.

    Raises:
        NotImplementedError: The sequences are packed; a program would need their lengths.
    """
    if not isinstance(has_biases, bool):  # the other overload: data, batch sizes, states, weights, …
        raise NotImplementedError(PACKED)
    states = list(initial) if cell == "lstm" else [initial]  # each [layers · directions, B, H]
    directions = 2 if bidirectional else 1
    count = len(weights) // (num_layers * directions)  # of one direction of a layer
    by_step = x.transpose(0, 1) if batch_first else x  # [T, B, I]
    final: list[list[Tensor]] = []
    for layer in range(num_layers):
        outputs = []
        for index in range(layer * directions, (layer + 1) * directions):
            results = recurrent_layer(
                cell,
                by_step,
                [each[index] for each in states],
                list(weights[index * count : (index + 1) * count]),
                index % directions == 1,
            )
            outputs.append(results[0])
            final.append(results[1:-1])
        by_step = torch.cat(outputs, dim=-1) if bidirectional else outputs[0]
        if layer < num_layers - 1 and dropout > 0:
            by_step = torch.dropout(by_step, dropout, train)
    by_batch = by_step.transpose(0, 1) if batch_first else by_step
    return (by_batch, *(torch.stack(each) for each in zip(*final, strict=True)))


class RecurrentWork(NamedTuple):
    """The work of the recurrent layers of a step.

    Attributes:
        operators: Number of operators that PyTorch dispatches, where a time step of oneDNN counts as some.
        time_steps: Sequential time steps of all layers and directions.
        operations: Multiplications and additions.
        gates: Elements of gates and states that the cells compute with functions such as tanh, forward.
    """

    operators: int
    time_steps: int
    operations: int
    gates: int


def recurrent_work(graph: fx.Graph) -> RecurrentWork:
    """Count the work of the recurrent layers of a graph, forward and backward."""
    operators = time_steps = operations = gates = 0
    for node in graph.find_nodes(op="call_function", target=torch.ops.fitserve.recurrent_layer.default):
        cell, x, states, weights, _ = fx.node.map_arg(node.args, lambda each: each.meta["val"])
        projects = len(weights) % 2 == 1
        steps, batch = x.shape[:2]
        time_steps += steps
        operators += steps * (_OPERATORS["gru"] if projects else _OPERATORS[cell])
        # The backward pass multiplies by each weight twice: for the gradients of input and weight.
        operations += 3 * 2 * steps * batch * sum(each.numel() for each in weights if each.dim() == 2)
        gates += steps * states[0].numel() * _FUNCTIONS[cell]
    return RecurrentWork(operators, time_steps, operations, gates)
