"""Batches of samples that are too large for memory, gathered one at a time, the next one ahead of its use."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from service.datasets.samples import Samples

Index = slice | torch.Tensor


class Gatherer:
    """Gather batches of samples; a thread reads the next batch ahead.

    Only indices that the caller has already drawn are read ahead, so random numbers are drawn in the same
    order as in a plain loop.

    Args:
        samples: Samples with an `order`, see `Samples.order`.
        device: Device of the batches.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self._samples = samples
        self._device = device
        # A copy from pinned memory to a GPU runs in parallel with its computations.
        self._pin_memory = device.type == "cuda"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gatherer")
        self._ahead: tuple[Index, Future[Samples]] | None = None

    def take(self, index: Index, following: Index | None = None) -> Samples:
        """Gather a batch on the device.

        Args:
            index: Rows of the batch, as positions in `Samples.order`.
            following: Rows of the next batch, which the thread starts to read.
        """
        if self._ahead is not None and _equal(self._ahead[0], index):
            batch = self._ahead[1].result()
        else:  # the first batch, or another one than announced, as after a pause
            batch = self._read(index)
        self._ahead = None
        if following is not None:
            self._ahead = following, self._thread.submit(self._read, following)
        return batch.to(self._device, non_blocking=self._pin_memory)

    def _read(self, index: Index) -> Samples:
        batch = self._samples.take(index)
        return batch.pinned() if self._pin_memory else batch


def _equal(one: Index, other: Index) -> bool:
    if isinstance(one, slice) or isinstance(other, slice):
        return one is other or (isinstance(one, slice) and isinstance(other, slice) and one == other)
    return torch.equal(one, other)


class Slices:
    """Iterate over samples in slices of `size` rows, in order, any number of times.

    Slices of samples in memory are made once; slices of samples to gather are read again in each iteration.

    Args:
        samples: The samples.
        size: Number of rows of a slice; the last one may be shorter.
        device: Device of gathered slices.
    """

    def __init__(self, samples: Samples, size: int, device: torch.device) -> None:
        starts = range(0, samples.rows, size)
        self._indices = [slice(start, min(start + size, samples.rows)) for start in starts]
        self._gatherer = None if samples.order is None else Gatherer(samples, device)
        self._in_memory = [samples.take(index) for index in self._indices] if samples.order is None else []

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Samples]:
        if self._gatherer is None:
            yield from self._in_memory
            return
        for index in self._indices:  # without reading ahead: two large slices might not fit into memory
            yield self._gatherer.take(index)
