"""The inputs and targets of training samples as tensors."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of one split.

    Attributes:
        inputs: float32 or int64 [B, …], one for each input of the model.
        targets: Class indices, int64 [B] (or [B, …] of a tensor dataset); otherwise float32 [B, k].
        order: None if the samples are all rows of `inputs` and `targets`, in their order. Otherwise the row
            numbers of the samples, int64 [B], and `inputs` and `targets` are those of the whole dataset, from
            which `take` gathers each batch.
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
        """The inputs, then the targets."""
        return (*self.inputs, self.targets)

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
        return Samples(tuple(x[index] for x in self.inputs), self.targets[index])

    def clone(self) -> "Samples":
        """Return a copy in memory of its own."""
        return Samples(tuple(x.clone() for x in self.inputs), self.targets.clone(), self.order)

    def pinned(self) -> "Samples":
        """Return a copy in pinned memory, from which a GPU can copy asynchronously."""
        return Samples(tuple(x.pin_memory() for x in self.inputs), self.targets.pin_memory(), self.order)

    def to(self, device: torch.device, non_blocking: bool = False) -> "Samples":
        """Return a copy on a device; `non_blocking` copies from pinned memory asynchronously."""
        inputs = tuple(x.to(device, non_blocking=non_blocking) for x in self.inputs)
        return Samples(inputs, self.targets.to(device, non_blocking=non_blocking), self.order)
