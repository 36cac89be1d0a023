"""Random draws of a pass, which become inputs of its program.

PyTorch itself draws them, outside of the program and ahead of it, by the calls of the eager engine: the
operator with its arguments, on a tensor of the same strides, so that the bits are the same. The calls of a
pass are listed in the order in which they take numbers from the generator.

Operators whose number of draws depends on values, such as RReLU's, are left in the graph.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

_aten = torch.ops.aten
T = TypeVar("T")


@dataclass(frozen=True)
class _Unfilled:
    """A tensor argument of which only the form matters."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def make(self) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype)


@dataclass(frozen=True)
class Draw:
    """One call that draws random numbers.

    Attributes:
        operator: The ATen operator.
        arguments: Its positional arguments.
        keywords: Its keyword arguments.
        shape: Sizes of the result.
        dtype: The dtype in which a program takes the result; `bool` for draws of 0 and 1.
    """

    operator: Callable[..., Tensor]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        """Number of elements of the result."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of the result, as a program takes it."""
        return self.elements * self.dtype.itemsize

    def __call__(self) -> Tensor:
        """Draw from the global generator."""
        arguments = (each.make() if isinstance(each, _Unfilled) else each for each in self.arguments)
        return self.operator(*arguments, **self.keywords)


class EpochDraws(NamedTuple, Generic[T]):
    """The draws of the passes of one epoch, or what belongs to each of them.

    Attributes:
        whole: Those of a step on a whole batch.
        short: Those of the step on the short last batch.
        evaluation: Those of the evaluation of the validation samples.
    """

    whole: tuple[T, ...] = ()
    short: tuple[T, ...] = ()
    evaluation: tuple[T, ...] = ()


def epoch_bytes(draws: EpochDraws[Draw], whole_batches: int) -> int:
    """Return the bytes of all draws of an epoch."""
    counts = (whole_batches, 1, 1)
    return sum(count * draw.n_bytes for count, part in zip(counts, draws, strict=True) for draw in part)


def draw_epoch(draws: EpochDraws[Draw], whole_batches: int) -> EpochDraws[NDArray[Any]]:
    """Draw the numbers of an epoch from the global generator, in the order of the eager engine.

    Returns:
        Arrays [batches, …]; those of the short batch and of the evaluation have one batch.
    """
    counts = (whole_batches, 1, 1)
    return EpochDraws(*(_draw_batches(part, count) for part, count in zip(draws, counts, strict=True)))


def _draw_batches(draws: tuple[Draw, ...], batches: int) -> tuple[NDArray[Any], ...]:
    drawn = [torch.empty((batches, *draw.shape), dtype=draw.dtype) for draw in draws]
    for batch in zip(*(tensor.unbind() for tensor in drawn), strict=True):
        for draw, into in zip(draws, batch, strict=True):
            into.copy_(draw())
    return tuple(tensor.numpy() for tensor in drawn)


def stack_draws(epochs: Sequence[EpochDraws[NDArray[Any]]]) -> EpochDraws[NDArray[Any]]:
    """Return the draws of consecutive epochs, each [epochs, batches, …]."""
    return EpochDraws(
        *(tuple(map(np.stack, zip(*parts, strict=True))) for parts in zip(*epochs, strict=True))
    )


def empty_draws(draws: EpochDraws[Draw], whole_batches: int, *sizes: int) -> EpochDraws[NDArray[Any]]:
    """Return arrays of zeros [*sizes, batches, …] for the draws of epochs."""
    counts = (whole_batches, 1, 1)
    return EpochDraws(
        *(
            tuple(
                np.zeros((*sizes, count, *draw.shape), torch.empty(0, dtype=draw.dtype).numpy().dtype)
                for draw in part
            )
            for part, count in zip(draws, counts, strict=True)
        )
    )


def lift_draws(graph: fx.Graph) -> tuple[Draw, ...]:
    """Replace the random draws of a recorded graph by further inputs, behind those of the graph.

    Returns:
        The draws, in the order of the inputs.
    """
    return tuple(_lift(graph))


def _lift(graph: fx.Graph) -> Iterator[Draw]:
    *_, last = graph.find_nodes(op="placeholder", sort=True)
    for node in list(graph.nodes):
        if node.op != "call_function" or (lift := _LIFTED.get(node.target)) is None:
            continue
        lifted = lift(node)
        if lifted is None:
            continue
        draw, replacement = lifted
        with graph.inserting_after(last):
            last = graph.placeholder(f"draw_of_{node.name}")
        with graph.inserting_before(node):
            node.replace_all_uses_with(replacement(graph, last))
        graph.erase_node(node)
        yield draw


# (graph, drawn numbers) -> the node that takes the place of the drawing one.
Replacement = Callable[[fx.Graph, fx.Node], fx.Node]


def _fill(node: fx.Node) -> tuple[Draw, Replacement]:
    """Lift an operator that fills its first argument with numbers, in place."""
    filled: fx.Node = node.args[0]  # type: ignore[assignment]
    dtype = torch.bool if node.target is _aten.bernoulli_.float else None
    return _draw(node, dtype), lambda graph, drawn: graph.call_function(_aten.copy_.default, (filled, drawn))


def _create(node: fx.Node) -> tuple[Draw, Replacement]:
    """Lift an operator that creates a tensor."""
    return _draw(node), lambda graph, drawn: drawn


def _draw(node: fx.Node, dtype: torch.dtype | None = None) -> Draw:
    """Return the call of a node on the CPU, whose tensor arguments have no values that matter."""
    arguments = [_unfilled(each.meta["val"]) if isinstance(each, fx.Node) else each for each in node.args]
    keywords = dict(node.kwargs)
    if "device" in keywords:
        keywords["device"] = torch.device("cpu")
    value: Tensor = node.meta["val"]
    operator: Any = node.target
    return Draw(operator, tuple(arguments), keywords, tuple(value.shape), dtype or value.dtype)


def _unfilled(tensor: Tensor) -> _Unfilled:
    return _Unfilled(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _by_probabilities(node: fx.Node) -> tuple[Draw, Replacement] | None:
    """Lift `torch.bernoulli(p)`, which is 1 where a uniform number of the dtype of p is below p."""
    probabilities: fx.Node = node.args[0]  # type: ignore[assignment]
    value: Tensor = probabilities.meta["val"]
    if not value.is_contiguous():
        return None  # drawn in another order
    draw = Draw(_aten.uniform_.default, (_unfilled(value),), {}, tuple(value.shape), value.dtype)

    def replacement(graph: fx.Graph, drawn: fx.Node) -> fx.Node:
        below = graph.call_function(_aten.lt.Tensor, (drawn, probabilities))
        return graph.call_function(_aten._to_copy.default, (below,), {"dtype": node.meta["val"].dtype})

    return draw, replacement


def _normal(node: fx.Node) -> tuple[Draw, Replacement]:
    """Lift `torch.normal(mean, std)`, which is mean + std · z with a standard normal z."""
    mean, std = node.args[:2] if len(node.args) > 1 else (node.args[0], 1.0)
    value = _unfilled(node.meta["val"])
    draw = Draw(_aten.normal_.default, (value, 0.0, 1.0), {}, value.shape, value.dtype)

    def replacement(graph: fx.Graph, drawn: fx.Node) -> fx.Node:
        scaled = graph.call_function(_aten.mul.Tensor, (drawn, std))
        return graph.call_function(_aten.add.Tensor, (scaled, mean))

    return draw, replacement


_LIFTED: Mapping[Any, Callable[[fx.Node], tuple[Draw, Replacement] | None]] = {
    **dict.fromkeys(
        (
            *(_aten.bernoulli_.float, _aten.cauchy_.default, _aten.exponential_.default),
            *(_aten.geometric_.default, _aten.log_normal_.default, _aten.normal_.default),
            *(
                _aten.random_.default,
                getattr(_aten.random_, "from"),
                _aten.random_.to,
                _aten.uniform_.default,
            ),
        ),
        _fill,
    ),
    **dict.fromkeys(
        (
            *(_aten.bernoulli.p, _aten.normal.float_float, _aten.rand.default, _aten.rand_like.default),
            *(
                _aten.randint.default,
                _aten.randint.low,
                _aten.randint_like.default,
                _aten.randint_like.low_dtype,
            ),
            *(_aten.randn.default, _aten.randn_like.default, _aten.randperm.default),
        ),
        _create,
    ),
    _aten.bernoulli.default: _by_probabilities,
    **dict.fromkeys(
        (_aten.normal.Tensor_float, _aten.normal.float_Tensor, _aten.normal.Tensor_Tensor), _normal
    ),
}
