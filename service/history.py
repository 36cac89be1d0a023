"""Loss histories: packed chunk by chunk during training, unpacked and selected for reading.

Depends on numpy only, so that the API process can read histories without torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

LOSS = "loss"
LEARNING_RATE = "learning_rate"
IN_TARGET_UNITS = "_in_target_units"
"""Suffix of the loss and of metrics in the units of transformed targets."""
LOSS_COLUMNS = ("train_loss", "validation_loss", LEARNING_RATE)
_SPLITS = ("train", "validation")


def history_columns(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the values of an epoch, in order.

    Args:
        metrics: Names of the training's metrics.
    """
    return (*LOSS_COLUMNS, *(f"{split}_{name}" for name in metrics for split in _SPLITS))


@dataclass(frozen=True)
class HistoryChunk:
    """Consecutive epochs of one job.

    Attributes:
        first_epoch: Epoch of the first value, counted from 1.
        columns: Names of the values; see `history_columns`.
        values: float64 [columns, epochs]; NaN in place of missing and infinite values.
    """

    first_epoch: int
    columns: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def last_epoch(self) -> int:
        """Epoch of the last value."""
        return int(self.first_epoch + self.values.shape[1] - 1)

    def pack(self) -> bytes:
        """Encode as a JSON line with the column names, followed by the little-endian float64 values."""
        return orjson.dumps(self.columns) + b"\n" + self.values.astype("<f8").tobytes()

    @classmethod
    def unpack(cls, first_epoch: int, payload: bytes) -> Self:
        """Decode the result of `pack`."""
        header, _, body = payload.partition(b"\n")
        columns = tuple(orjson.loads(header))
        return cls(first_epoch, columns, np.frombuffer(body, "<f8").reshape(len(columns), -1))

    @classmethod
    def join(cls, chunks: Sequence[Self]) -> Self:
        """Concatenate consecutive chunks; a value that a chunk does not have is missing in its epochs."""
        first = chunks[0]
        columns = tuple(dict.fromkeys(name for chunk in chunks for name in chunk.columns))
        values = [chunk._values_of(columns) for chunk in chunks]
        return cls(first.first_epoch, columns, np.concatenate(values, axis=1))

    def _values_of(self, columns: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the values of these columns, NaN for those that the chunk does not have."""
        if columns == self.columns:
            return self.values
        values = np.full((len(columns), self.values.shape[1]), np.nan)
        values[[columns.index(name) for name in self.columns]] = self.values
        return values


@dataclass(frozen=True)
class HistoryQuery:
    """Selection of epochs; None does not restrict it.

    Attributes:
        every: Select epoch 1 and each multiple of this number.
        from_epoch: First epoch.
        to_epoch: Last epoch, inclusive.
        max_points: Maximum number of epochs; the selection is thinned out evenly, keeping first and last.
    """

    every: int | None = None
    from_epoch: int | None = None
    to_epoch: int | None = None
    max_points: int | None = None

    def select(self, history: HistoryChunk) -> NDArray[np.int64]:
        """Return the positions of the selected epochs in `history`, int64 [n]."""
        epochs = np.arange(history.first_epoch, history.last_epoch + 1)
        is_selected = np.ones(len(epochs), dtype=bool)
        if self.from_epoch is not None:
            is_selected &= epochs >= self.from_epoch
        if self.to_epoch is not None:
            is_selected &= epochs <= self.to_epoch
        if self.every is not None:
            is_selected &= (epochs == 1) | (epochs % self.every == 0)
        positions = np.flatnonzero(is_selected)
        if self.max_points is not None and len(positions) > self.max_points:
            spaced = np.linspace(0, len(positions) - 1, self.max_points)
            positions = positions[np.unique(spaced.round().astype(np.int64))]
        return positions


def flat_columns(history: HistoryChunk | None, query: HistoryQuery) -> dict[str, list[Any]]:
    """Return the selected epochs as columns by name: `epoch`, losses, learning rate, metrics; NaN as None."""
    if history is None:
        return {name: [] for name in ("epoch", *LOSS_COLUMNS)}
    positions = query.select(history)
    flat: dict[str, list[Any]] = {"epoch": (positions + history.first_epoch).tolist()}
    for name, values in zip(history.columns, history.values[:, positions].tolist(), strict=True):
        flat[name] = [None if math.isnan(value) else value for value in values]
    return flat


def history_document(history: HistoryChunk | None, query: HistoryQuery) -> dict[str, Any]:
    """Return the response of `GET …/history`: aligned columns, with metrics by name and split."""
    flat = flat_columns(history, query)
    by_split = {
        name.removeprefix("train_"): {split: flat[name.replace("train", split, 1)] for split in _SPLITS}
        for name in flat
        if name.startswith("train_")
    }
    in_units = {
        name.removesuffix(IN_TARGET_UNITS): values
        for name, values in by_split.items()
        if name.endswith(IN_TARGET_UNITS)
    }
    plain = {name: values for name, values in by_split.items() if not name.endswith(IN_TARGET_UNITS)}
    return {
        "epochs": flat["epoch"],
        **{name: flat[name] for name in LOSS_COLUMNS},
        "metrics": _without_loss(plain),
        **({"in_target_units": _in_target_units(in_units)} if in_units else {}),
        "next_epoch": flat["epoch"][-1] + 1 if flat["epoch"] else (query.from_epoch or 1),
    }


def _in_target_units(values: Mapping[str, Any]) -> dict[str, Any]:
    loss = {LOSS: values[LOSS]} if LOSS in values else {}
    return {**loss, "metrics": _without_loss(values)}


def _without_loss(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in values.items() if name != LOSS}


def epoch_document(epoch: int, values: Mapping[str, float]) -> dict[str, Any]:
    """Return the values of one epoch as in a job's `latest` and `best`."""
    one = HistoryChunk(epoch, tuple(values), np.array([list(values.values())]).T)
    document: dict[str, Any] = _first_values(history_document(one, HistoryQuery()))
    del document["epochs"], document[LEARNING_RATE], document["next_epoch"]
    return {"epoch": epoch, **document}


def _first_values(document: Any) -> Any:
    """Replace each list, in nested objects, by its first entry."""
    if isinstance(document, dict):
        return {name: _first_values(value) for name, value in document.items()}
    return document[0] if isinstance(document, list) else document
