"""Memory for encoded tensors: RAM, the meta device, or mapped files for data larger than RAM."""

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from service import retry_after
from service.file_errors import unavailable


class Layout(NamedTuple):
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Allocation:
    """Tensors to be filled slice by slice.

    Attributes:
        tensors: One tensor [B, …] for each layout.
        mapped: Whether the tensors are mapped files. A copy of them in training order might not fit into
            memory, so batches are gathered from them one by one.
    """

    tensors: Sequence[torch.Tensor]
    mapped: bool = False

    def write(self, index: int, start: int, rows: torch.Tensor) -> None:
        """Write consecutive rows.

        Args:
            index: Position of the tensor in `tensors`.
            start: Number of the first row to write.
            rows: The values, [b, …].
        """
        self.tensors[index][start : start + len(rows)] = rows


class Workspace(Protocol):
    """Allocates memory for encoded tensors."""

    def allocate(self, layouts: Sequence[Layout]) -> Allocation:
        """Allocate an uninitialized tensor for each layout."""

    def holds(self, nbytes: int) -> bool:
        """Return whether tensors of this size are kept in memory."""


@dataclass(frozen=True)
class MemoryWorkspace:
    """Allocates in memory."""

    def holds(self, nbytes: int) -> bool:
        return True

    def allocate(self, layouts: Sequence[Layout]) -> Allocation:
        return Allocation([torch.empty(layout.shape, dtype=layout.dtype) for layout in layouts])


@dataclass(frozen=True)
class MetaWorkspace:
    """Allocates on the meta device, for checks that need only shapes and value ranges.

    Written values are discarded, except for their extremes.

    Attributes:
        extremes: For each written tensor [B, …], by its position, the smallest and the largest value of each
            element, [2, …].
    """

    extremes: dict[int, torch.Tensor] = field(default_factory=dict)

    def holds(self, nbytes: int) -> bool:
        return True

    def allocate(self, layouts: Sequence[Layout]) -> Allocation:
        tensors = [torch.empty(layout.shape, dtype=layout.dtype, device="meta") for layout in layouts]
        return _MetaAllocation(tensors, extremes=self.extremes)


@dataclass(frozen=True)
class _MetaAllocation(Allocation):
    extremes: dict[int, torch.Tensor] = field(default_factory=dict)

    def write(self, index: int, start: int, rows: torch.Tensor) -> None:
        low, high = rows.aminmax(dim=0)  # each […], from [b, …]
        known_low, known_high = self.extremes.get(index, (low, high))
        self.extremes[index] = torch.stack([low.minimum(known_low), high.maximum(known_high)])  # [2, …]


@dataclass(frozen=True)
class SpillingWorkspace:
    """Allocates in memory up to a limit, and in mapped files beyond it.

    The files have no names, so the operating system deletes them when the process ends, even if it is killed.

    Attributes:
        folder: Folder of the files; it is created when needed.
        memory_bytes: Largest total size of tensors in memory.
    """

    folder: Path
    memory_bytes: int

    def holds(self, nbytes: int) -> bool:
        return nbytes <= self.memory_bytes

    def allocate(self, layouts: Sequence[Layout]) -> Allocation:
        """Allocate an uninitialized tensor for each layout.

        Raises:
            StorageFull: The disk has not enough space.
            Unavailable: The folder can't be written.
        """
        if self.holds(sum(layout.nbytes for layout in layouts)):
            return MemoryWorkspace().allocate(layouts)
        return Allocation([self._map_file(layout) for layout in layouts], mapped=True)

    def _map_file(self, layout: Layout) -> torch.Tensor:
        size = math.prod(layout.shape)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                # Reserve the space now. On a full disk, a later write to the map would kill the process with
                # SIGBUS.
                os.posix_fallocate(file.fileno(), 0, max(1, layout.nbytes))
                path = f"/dev/fd/{file.fileno()}"
                mapped = torch.from_file(path, shared=True, size=size, dtype=layout.dtype)
        except OSError as error:
            summary = f"A file of {layout.nbytes} bytes of training data can't be written"
            raise unavailable(error, summary, retry_after.DISK_FULL_SECONDS) from error
        return mapped.view(layout.shape)
