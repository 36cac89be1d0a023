"""Types of metrics in a program.

The loop over epochs has a fixed number of arrays of fixed shapes. A metric is therefore a sum over samples
(`SummedMetric`), or it is computed from all rows of an epoch, for which the state has room (`RankedMetric`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

Numbers = Mapping[str, Array]  # numeric arguments of a metric by name, float64 []


@dataclass(frozen=True)
class Compared:
    """Outputs and targets of a batch, as a metric takes them.

    Attributes:
        predictions: Probabilities [B] or [B, k], scores [B, k] or values [B, …].
        targets: 0 or 1, [B] or [B, k]; classes [B]; or values [B, …].
        counts: bool of the shape of the targets: whether they are present, and not ignored by the loss.
        origin: One target, the same for all batches, about which targets may be summed.
    """

    predictions: Array
    targets: Array
    counts: Array
    origin: Array


class ProgramMetric(Protocol):
    """A metric that a program computes."""

    def add(self, batch: Compared, numbers: Numbers) -> Array:
        """Return what the program keeps of a batch."""

    def join(self, kept: Array, added: Array, rows_before: Array, rows: int) -> Array:
        """Return what the program keeps of an epoch so far and of one batch more.

        Args:
            kept: Array of the shape of `epoch_shape`.
            added: What is kept of the batch.
            rows_before: Number of rows of the epoch before the batch.
            rows: Number of rows of the batch.
        """

    def epoch_shape(self, batch_shape: tuple[int, ...], rows: int, epoch_rows: int) -> tuple[int, ...]:
        """Return the shape of what is kept of an epoch.

        Args:
            batch_shape: Shape of what is kept of a batch.
            rows: Number of rows of the batch.
            epoch_rows: Number of rows of an epoch.
        """

    def value(self, kept: Array, numbers: Numbers) -> Array:
        """Compute the metric, float64 [], NaN if it is undefined."""


@dataclass(frozen=True)
class SummedMetric:
    """A metric that is a function of sums over samples.

    Attributes:
        sums: (batch, numbers) -> its sums, float64.
        of_sums: (sums over all batches, numbers) -> the metric.
    """

    sums: Callable[[Compared, Numbers], Array]
    of_sums: Callable[[Array, Numbers], Array]

    def add(self, batch: Compared, numbers: Numbers) -> Array:
        """Return the sums of a batch."""
        return self.sums(batch, numbers)

    def join(self, kept: Array, added: Array, rows_before: Array, rows: int) -> Array:
        """Add the sums of a batch."""
        return kept + added

    def epoch_shape(self, batch_shape: tuple[int, ...], rows: int, epoch_rows: int) -> tuple[int, ...]:
        """Return the shape of the sums."""
        return batch_shape

    def value(self, kept: Array, numbers: Numbers) -> Array:
        """Compute the metric."""
        return self.of_sums(kept, numbers)


@dataclass(frozen=True)
class RankedMetric:
    """A metric of the order of all rows.

    Attributes:
        columns: (batch, numbers) -> [R, c], what it needs of each row; a row of the data may be several.
        of_rows: (columns of all rows, numbers) -> the metric.
    """

    columns: Callable[[Compared, Numbers], Array]
    of_rows: Callable[[Array, Numbers], Array]

    def add(self, batch: Compared, numbers: Numbers) -> Array:
        """Return the columns of a batch."""
        return self.columns(batch, numbers)

    def join(self, kept: Array, added: Array, rows_before: Array, rows: int) -> Array:
        """Write the columns of a batch after those of the batches before."""
        return lax.dynamic_update_slice(kept, added, (rows_before * (len(added) // rows), 0))

    def epoch_shape(self, batch_shape: tuple[int, ...], rows: int, epoch_rows: int) -> tuple[int, ...]:
        """Return the shape of the columns of an epoch."""
        return batch_shape[0] // rows * epoch_rows, batch_shape[1]

    def value(self, kept: Array, numbers: Numbers) -> Array:
        """Compute the metric."""
        return self.of_rows(kept, numbers)


def double(x: Any) -> Array:
    """Convert to float64."""
    return jnp.asarray(x, jnp.float64)


def ratio_or(numerator: Array, denominator: Array, otherwise: Any) -> Array:
    """Divide; return `otherwise` where the denominator is 0."""
    is_zero = denominator == 0
    return jnp.where(is_zero, otherwise, numerator / jnp.where(is_zero, 1, denominator))
