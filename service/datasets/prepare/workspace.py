"""Where encoded tensors lie: in memory, or, when they are too large for it, in files that are mapped."""

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from service import retry_after
from service.errors import Unavailable


class Layout(NamedTuple):
    """What a tensor is to be."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Space:
    """Tensors to be written to, some rows at a time.

    Attributes:
        tensors: one for each layout.
        to_gather: whether rows are to be gathered of them batch by batch, since a copy in the order of
            training would not fit into memory.
    """

    tensors: Sequence[torch.Tensor]
    to_gather: bool = False

    def write(self, number: int, start: int, rows: torch.Tensor) -> None:
        """Put rows into the tensor of a number, from row `start` on."""
        self.tensors[number][start : start + len(rows)] = rows


class Workspace(Protocol):
    """Makes room for encoded tensors."""

    def allocate(self, layouts: Sequence[Layout]) -> Space:
        """A tensor for each layout, its values to be written."""


@dataclass(frozen=True)
class Memory:
    """All in memory."""

    def allocate(self, layouts: Sequence[Layout]) -> Space:
        """See `Workspace`."""
        return Space([torch.empty(layout.shape, dtype=layout.dtype) for layout in layouts])


@dataclass(frozen=True)
class Nowhere:
    """On the meta device: what is written is gone. For a check of the data, which needs only shapes after.

    Attributes:
        extremes: of each tensor [B, …] the smallest and the largest value of each element, [2, …].
    """

    extremes: dict[int, torch.Tensor] = field(default_factory=dict)

    def allocate(self, layouts: Sequence[Layout]) -> Space:
        """See `Workspace`."""
        tensors = [torch.empty(layout.shape, dtype=layout.dtype, device="meta") for layout in layouts]
        return _Extremes(tensors, extremes=self.extremes)


@dataclass(frozen=True)
class _Extremes(Space):
    """Of what is written only the extremes are kept."""

    extremes: dict[int, torch.Tensor] = field(default_factory=dict)

    def write(self, number: int, start: int, rows: torch.Tensor) -> None:
        """See `Space`."""
        low, high = rows.aminmax(dim=0)
        known_low, known_high = self.extremes.get(number, (low, high))
        self.extremes[number] = torch.stack([low.minimum(known_low), high.maximum(known_high)])


@dataclass(frozen=True)
class MappedBeyond:
    """In memory up to `memory_bytes` together, beyond that in files of `folder`.

    The files have no names: they are gone with the process, whatever ends it.
    """

    folder: Path
    memory_bytes: int

    def allocate(self, layouts: Sequence[Layout]) -> Space:
        """See `Workspace`.

        Raises:
            Unavailable: the disk has no room for them.
        """
        if sum(layout.nbytes for layout in layouts) <= self.memory_bytes:
            return Memory().allocate(layouts)
        return Space([self._mapped(layout) for layout in layouts], True)

    def _mapped(self, layout: Layout) -> torch.Tensor:
        size = math.prod(layout.shape)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                # Reserved at once: a disk that fills up later would kill the process at a write to the map.
                os.posix_fallocate(file.fileno(), 0, max(1, layout.nbytes))
                path = f"/dev/fd/{file.fileno()}"
                mapped = torch.from_file(path, shared=True, size=size, dtype=layout.dtype)
        except OSError as error:
            raise Unavailable(
                f"There is no room for {layout.nbytes} bytes of training data: {error}.",
                retry_after_seconds=retry_after.DISK_FULL_SECONDS,
            ) from error
        return mapped.view(layout.shape)
