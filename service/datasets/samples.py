"""Samples: what a training takes, as tensors."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Samples:
    """The rows of one side of the split.

    Attributes:
        inputs: float32 or int64 [B, …], one for each input of the model.
        targets: int64 [B] class indices (or [B, …] of tensor data), else float32 [B, k].
        order: None where `inputs` and `targets` hold the part's rows, in its order. Else int64 [B]: which of
            their rows are the part's, to be gathered batch by batch.
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    order: torch.Tensor | None = None

    @property
    def rows(self) -> int:
        """The number of samples, B."""
        return len(self.targets if self.order is None else self.order)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All of them."""
        return (*self.inputs, self.targets)

    @property
    def nbytes(self) -> int:
        """What its tensors take."""
        return sum(x.nbytes for x in self.tensors)

    def take(self, index: slice | torch.Tensor, into: "Samples | None" = None) -> "Samples":
        """Some of its rows, in memory.

        Args:
            into: where rows by their numbers may be put, so that no memory is to be found for them.
        """
        if self.order is not None:
            index = self.order[index]
        elif into is not None and isinstance(index, torch.Tensor):
            for x, place in zip(self.tensors, into.tensors, strict=True):
                torch.index_select(x, 0, index, out=place)
            return into
        return Samples(tuple(x[index] for x in self.inputs), self.targets[index])

    def clone(self) -> "Samples":
        """The same in memory of its own."""
        return Samples(tuple(x.clone() for x in self.inputs), self.targets.clone(), self.order)

    def pinned(self) -> "Samples":
        """The same in memory that a GPU reads by itself."""
        return Samples(tuple(x.pin_memory() for x in self.inputs), self.targets.pin_memory(), self.order)

    def to(self, device: torch.device, non_blocking: bool = False) -> "Samples":
        """The same on a device; what is pinned may still be on its way."""
        inputs = tuple(x.to(device, non_blocking=non_blocking) for x in self.inputs)
        return Samples(inputs, self.targets.to(device, non_blocking=non_blocking), self.order)
