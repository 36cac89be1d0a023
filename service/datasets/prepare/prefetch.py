"""Batches of a part that is too large for memory: gathered one by one, the next while one is at work."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from service.datasets.samples import Samples

Index = slice | torch.Tensor


class Gatherer:
    """Gathers batches of a part; a thread reads the rows of the next one ahead.

    It reads ahead only what is already drawn: no random number is taken earlier than a plain loop takes it.

    Args:
        part: see `Samples.order`.
        device: where batches are wanted.
    """

    def __init__(self, part: Samples, device: torch.device) -> None:
        self._part = part
        self._device = device
        self._pins = device.type == "cuda"  # the copy to a GPU goes on beside its work
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gatherer")
        self._ahead: tuple[Index, Future[Samples]] | None = None

    def take(self, index: Index, following: Index | None = None) -> Samples:
        """Some rows, on the device; those of `following` are gathered meanwhile."""
        batch = self._gathered(index)
        self._ahead = None
        if following is not None:
            self._ahead = following, self._thread.submit(self._read, following)
        return batch.to(self._device, non_blocking=self._pins)

    def _gathered(self, index: Index) -> Samples:
        if self._ahead is not None and _same(self._ahead[0], index):
            return self._ahead[1].result()
        return self._read(index)

    def _read(self, index: Index) -> Samples:
        rows = self._part.take(index)
        return rows.pinned() if self._pins else rows


def _same(one: Index, other: Index) -> bool:
    if isinstance(one, slice) or isinstance(other, slice):
        return one is other or (isinstance(one, slice) and isinstance(other, slice) and one == other)
    return torch.equal(one, other)


class Slices:
    """A part in slices of `size` rows, in its order; can be gone through any number of times.

    Slices of a part in memory are made once; those of one to gather anew each time.
    """

    def __init__(self, part: Samples, size: int, device: torch.device) -> None:
        starts = range(0, part.rows, size)
        self._indices = [slice(start, min(start + size, part.rows)) for start in starts]
        self._gatherer = None if part.order is None else Gatherer(part, device)
        self._made = [part.take(index) for index in self._indices] if part.order is None else []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._indices)

    def __iter__(self) -> Iterator[Samples]:
        if self._gatherer is None:
            yield from self._made
            return
        for index in self._indices:  # one at a time: they are large, and two might not fit into memory
            yield self._gatherer.take(index)
