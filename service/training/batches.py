"""The division of an epoch's training rows into batches."""

import math
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
    """

    rows: int
    size: int
    is_full_batch: bool

    @classmethod
    def of(cls, spec: TrainingSpec, rows: int) -> Self:
        """Divide `rows` training rows by the `batch_size` of a training section."""
        return cls(rows, min(spec.batch_size or rows, rows), spec.batch_size is None)

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimizer steps in one epoch."""
        return math.ceil(self.rows / self.size)

    @property
    def full_batches(self) -> int:
        """Number of batches with exactly `size` rows."""
        return self.rows // self.size

    @property
    def remainder(self) -> int:
        """Number of rows in a shorter last batch; 0 if all batches have `size` rows."""
        return self.rows % self.size
