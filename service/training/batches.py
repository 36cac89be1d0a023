"""The division of an epoch's training rows into batches."""

from dataclasses import dataclass
from typing import Self

from service.specs.training import TrainingSpec


@dataclass(frozen=True)
class Batches:
    """Division of an epoch of `rows` training rows into batches.

    Attributes:
        rows: Training rows of an epoch.
        size: Rows of a batch; the last one may be shorter.
        is_full_batch: Whether `batch_size` is null: one step on all rows.
        drops_last: Whether an epoch leaves out a shorter last batch, as `DataLoader(drop_last=True)`.
    """

    rows: int
    size: int
    is_full_batch: bool
    drops_last: bool = False

    @classmethod
    def of(cls, spec: TrainingSpec, rows: int) -> Self:
        """Divide `rows` training rows by the `batch_size` of a training section."""
        size = spec.batch_size or rows
        drops_last = spec.drop_last and spec.batch_size is not None
        return cls(rows, size if drops_last else min(size, rows), spec.batch_size is None, drops_last)

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimizer steps in one epoch."""
        return self.full_batches + (self.remainder > 0)

    @property
    def full_batches(self) -> int:
        """Number of batches with exactly `size` rows."""
        return self.rows // self.size

    @property
    def remainder(self) -> int:
        """Number of rows in a shorter last batch; 0 if every step has `size` rows."""
        return 0 if self.drops_last else self.rows % self.size
