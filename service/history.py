"""Loss history: packed by the trainer a chunk at a time, unpacked and selected for reading.

Needs numpy only, so that the API process can read histories without torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

LEARNING_RATE = "learning_rate"
LOSS_COLUMNS = ("train_loss", "validation_loss", LEARNING_RATE)


def history_columns(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the names of an epoch's values in their order.

    Args:
        metrics: Names of the training's metrics.
    """
    return (*LOSS_COLUMNS, *(f"{split}_{name}" for name in metrics for split in ("train", "validation")))


@dataclass(frozen=True)
class HistoryChunk:
    """Consecutive epochs of one job.

    Attributes:
        first_epoch: the epoch of the first value, counted from 1.
        columns: The names of the values, see `history_columns`.
        values: float64 [columns, epochs]; NaN where there is no finite value.
    """

    first_epoch: int
    columns: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def last_epoch(self) -> int:
        """The epoch of the last value."""
        return int(self.first_epoch + self.values.shape[1] - 1)

    def pack(self) -> bytes:
        """One JSON line with the column names, then the float64 values, little-endian."""
        return orjson.dumps(self.columns) + b"\n" + self.values.astype("<f8").tobytes()

    @classmethod
    def unpack(cls, first_epoch: int, payload: bytes) -> Self:
        """The inverse of `pack`."""
        header, _, body = payload.partition(b"\n")
        columns = tuple(orjson.loads(header))
        return cls(first_epoch, columns, np.frombuffer(body, "<f8").reshape(len(columns), -1))

    @classmethod
    def join(cls, chunks: Sequence[Self]) -> Self:
        """Chunks that follow each other, as one."""
        first = chunks[0]
        values = np.concatenate([chunk.values for chunk in chunks], axis=1)
        return cls(first.first_epoch, first.columns, values)


@dataclass(frozen=True)
class HistoryQuery:
    """Which epochs a reader wants.

    Attributes:
        every: epoch 1 and each multiple of this.
        from_epoch, to_epoch: bounds, both included.
        max_points: at most so many, evenly spaced, first and last included.
    """

    every: int | None = None
    from_epoch: int | None = None
    to_epoch: int | None = None
    max_points: int | None = None

    def select(self, history: HistoryChunk) -> NDArray[np.int64]:
        """The positions in `history` that are wanted."""
        epochs = np.arange(history.first_epoch, history.last_epoch + 1)
        wanted = np.ones(len(epochs), dtype=bool)
        if self.from_epoch is not None:
            wanted &= epochs >= self.from_epoch
        if self.to_epoch is not None:
            wanted &= epochs <= self.to_epoch
        if self.every is not None:
            wanted &= (epochs == 1) | (epochs % self.every == 0)
        positions = np.flatnonzero(wanted)
        if self.max_points is not None and len(positions) > self.max_points:
            spaced = np.linspace(0, len(positions) - 1, self.max_points)
            positions = positions[np.unique(spaced.round().astype(np.int64))]
        return positions


def flat_columns(history: HistoryChunk | None, query: HistoryQuery) -> dict[str, list[Any]]:
    """The wanted epochs as columns by name: `epoch`, losses, learning rate, metrics; NaN becomes None."""
    if history is None:
        return {name: [] for name in ("epoch", *LOSS_COLUMNS)}
    positions = query.select(history)
    flat: dict[str, list[Any]] = {"epoch": (positions + history.first_epoch).tolist()}
    for name, values in zip(history.columns, history.values[:, positions].tolist(), strict=True):
        flat[name] = [None if math.isnan(value) else value for value in values]
    return flat


def history_document(history: HistoryChunk | None, query: HistoryQuery) -> dict[str, Any]:
    """The history as `GET …/history` answers it: aligned columns, metrics by name and side."""
    flat = flat_columns(history, query)
    train = [name for name in flat if name.startswith("train_") and name != "train_loss"]
    metrics = [name.removeprefix("train_") for name in train]
    return {
        "epochs": flat["epoch"],
        **{name: flat[name] for name in LOSS_COLUMNS},
        "metrics": {
            metric: {side: flat[f"{side}_{metric}"] for side in ("train", "validation")} for metric in metrics
        },
        "next_epoch": flat["epoch"][-1] + 1 if flat["epoch"] else (query.from_epoch or 1),
    }


def epoch_document(epoch: int, values: Mapping[str, float]) -> dict[str, Any]:
    """One epoch's values as a job's `latest` and `best` tell them."""
    one = HistoryChunk(epoch, tuple(values), np.array([list(values.values())]).T)
    document = history_document(one, HistoryQuery())
    metrics = document["metrics"].items()
    return {
        "epoch": epoch,
        "train_loss": document["train_loss"][0],
        "validation_loss": document["validation_loss"][0],
        "metrics": {name: {side: each[0] for side, each in sides.items()} for name, sides in metrics},
    }
