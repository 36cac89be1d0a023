"""The inputs, targets and weights of training samples as tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of one split.

    Attributes:
        inputs: float32 or int64 [B, …], one for each input of the model.
        targets: Class indices, int64 [B] (or [B, …] of a tensor dataset); otherwise float32 [B, k], NaN for a
            missing target (`data.missing_targets`).
        order: None if the samples are all rows of the tensors, in their order. Otherwise the row numbers of
            the samples, int64 [B], and the tensors are those of the whole dataset, from which `take` gathers
            each batch.
        weights: Weights of the samples in the loss, float32 [B]; None if all are 1.
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    order: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    @property
    def rows(self) -> int:
        """The number of samples, B."""
        return len(self.targets if self.order is None else self.order)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The inputs, then the arguments of the loss."""
        return (*self.inputs, *self.loss_arguments)

    @property
    def loss_arguments(self) -> tuple[torch.Tensor, ...]:
        """The arguments of the loss after the outputs: the targets, then the weights if there are any."""
        return (self.targets,) if self.weights is None else (self.targets, self.weights)

    @property
    def nbytes(self) -> int:
        """The total size of the tensors in bytes."""
        return sum(x.nbytes for x in self.tensors)

    def take(self, index: slice | torch.Tensor, out: "Samples | None" = None) -> "Samples":
        """Return some of the samples, without an `order`.

        Args:
            index: Positions of the samples: a slice, or int64 [b].
            out: Samples of b rows to overwrite and return, which avoids an allocation. Ignored for a slice,
                and if `order` is set.
        """
        if self.order is not None:
            index = self.order[index]
        elif out is not None and isinstance(index, torch.Tensor):
            for source, target in zip(self.tensors, out.tensors, strict=True):
                torch.index_select(source, 0, index, out=target)
            return out
        return replace(self._map(lambda x: x[index]), order=None)

    def clone(self) -> "Samples":
        """Return a copy in memory of its own."""
        return self._map(torch.Tensor.clone)

    def pinned(self) -> "Samples":
        """Return a copy in pinned memory, from which a GPU can copy asynchronously."""
        return self._map(lambda x: x.pin_memory())

    def to(self, device: torch.device, non_blocking: bool = False) -> "Samples":
        """Return a copy on a device; `non_blocking` copies from pinned memory asynchronously."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Samples":
        """Apply a function to each tensor; the `order` stays."""
        weights = None if self.weights is None else function(self.weights)
        return Samples(tuple(map(function, self.inputs)), function(self.targets), self.order, weights)
