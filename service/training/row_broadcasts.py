"""Detection of operations that broadcast the rows of one tensor against those of another."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten
# Operators that broadcast and reduce in one.
_REDUCING = (_aten.soft_margin_loss.default,)
_RESHAPING = (_aten.view.default, _aten._unsafe_view.default, _aten.unsqueeze.default)

Shape = tuple[int, ...]


class Broadcast(NamedTuple):
    """An operator that broadcasts rows.

    Attributes:
        operands: Distinct shapes of the tensors with rows.
        result: Shape of the result.
        is_index: Whether it selects elements, as `output[:, target]` does.
    """

    operands: tuple[Shape, ...]
    result: Shape
    is_index: bool


class RowBroadcasts(TorchDispatchMode):
    """Records operators whose result has the batch dimension twice because ranks differ, as [B] - [B, 1].

    Broadcasting puts new dimensions in front (https://numpy.org/doc/stable/user/basics.broadcasting.html), so
    that [B] stands for [1, B]. Tensors of equal ranks, as [B, 1] - [1, B], say that pairs are meant.

    Args:
        rows: Size of the batch.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows = rows
        self._found: list[Broadcast] = []
        # Losses such as `F.mse_loss` expand their operands one by one: shapes by that of the result.
        self._expanded: dict[Shape, list[Shape]] = {}
        # Functions such as `torch.outer` reshape their operands to make pairs.
        self._reshaped: set[Shape] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and record its shapes, if rows are broadcast."""
        result = func(*args, **(kwargs or {}))
        shapes = [tuple(each.shape) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if func in _REDUCING:
            made = tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
        elif isinstance(result, Tensor):
            made = tuple(result.shape)
        else:
            return result
        if func is _aten.expand.default:
            shapes = self._expanded.setdefault(made, [])
            shapes.append(tuple(args[0].shape))
        elif func in _RESHAPING:
            self._reshaped.add(made)
        batched = [*self._batched(shapes)]
        is_implicit = len({len(shape) for shape in batched}) > 1 and self._reshaped.isdisjoint(batched)
        if is_implicit and made.count(self._rows) > 1:
            self._found.append(Broadcast(tuple(batched), made, func is _aten.index.Tensor))
        return result

    def _batched(self, shapes: Iterable[Shape]) -> Iterator[Shape]:
        """Iterate over the distinct shapes with rows; over none if one already has the rows twice."""
        distinct = dict.fromkeys(shape for shape in shapes if self._rows in shape)
        return iter(() if any(shape.count(self._rows) > 1 for shape in distinct) else distinct)

    def take(self) -> list[Broadcast]:
        """Return what was recorded since the last call."""
        found, self._found = self._found, []
        self._expanded.clear()
        self._reshaped.clear()
        return found
