"""Packing, joining and selecting histories."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.history import (
    LOSS_COLUMNS,
    HistoryChunk,
    HistoryQuery,
    epoch_document,
    flat_columns,
    history_document,
)

COLUMNS = (*LOSS_COLUMNS, "train_accuracy", "validation_accuracy")
positive = st.none() | st.integers(1, 60)


def history(epochs: int, first_epoch: int = 1) -> HistoryChunk:
    """Return a history whose training loss equals the number of the epoch."""
    values = np.arange(first_epoch, first_epoch + epochs, dtype=np.float64)
    return HistoryChunk(first_epoch, COLUMNS, np.stack([values * factor for factor in range(1, 6)]))


def selected(chunk: HistoryChunk, **query: int | None) -> list[int]:
    """Return the epochs that a query selects."""
    epochs: list[int] = (HistoryQuery(**query).select(chunk) + chunk.first_epoch).tolist()
    return epochs


@settings(deadline=None)
@given(
    values=st.lists(st.floats(allow_infinity=False), min_size=0, max_size=20),
    first_epoch=st.integers(1, 10**7),
)
def test_pack_and_unpack(values: list[float], first_epoch: int) -> None:
    """Unpacking a packed chunk yields the same bits, including NaN."""
    chunk = HistoryChunk(first_epoch, ("train_loss", "ü"), np.array([values, values[::-1]], dtype=np.float64))
    read = HistoryChunk.unpack(first_epoch, chunk.pack())
    assert (read.first_epoch, read.columns, read.last_epoch) == (first_epoch, chunk.columns, chunk.last_epoch)
    assert read.values.tobytes() == chunk.values.tobytes()
    assert read.values.shape == chunk.values.shape


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_join(lengths: list[int]) -> None:
    """Joined consecutive chunks equal the whole history."""
    chunks, first = [], 1
    for length in lengths:
        chunks.append(history(length, first))
        first += length
    joined = HistoryChunk.join(chunks)
    np.testing.assert_array_equal(joined.values, history(sum(lengths)).values)
    assert joined.last_epoch == sum(lengths)


@settings(deadline=None)
@given(
    epochs=st.integers(1, 60),
    every=positive,
    from_epoch=positive,
    to_epoch=positive,
    max_points=positive,
)
def test_select(
    epochs: int, every: int | None, from_epoch: int | None, to_epoch: int | None, max_points: int | None
) -> None:
    """`every` selects epoch 1 and its multiples within the bounds; `max_points` thins them out evenly."""
    expected = [
        epoch
        for epoch in range(from_epoch or 1, min(epochs, to_epoch or epochs) + 1)
        if every is None or epoch == 1 or epoch % every == 0
    ]
    chunk = history(epochs)
    everything = selected(chunk, every=every, from_epoch=from_epoch, to_epoch=to_epoch)
    assert everything == expected
    thinned = selected(chunk, every=every, from_epoch=from_epoch, to_epoch=to_epoch, max_points=max_points)
    assert len(thinned) == min(len(expected), max_points or len(expected))
    assert set(thinned) <= set(expected)
    assert thinned == sorted(thinned)
    if len(thinned) > 1:
        assert (thinned[0], thinned[-1]) == (expected[0], expected[-1])
        distances = np.diff([expected.index(epoch) for epoch in thinned])
        assert distances.max() - distances.min() <= 1


def test_every_includes_the_first_epoch() -> None:
    """`every=1000` of 3000 epochs selects epoch 1 and each 1000th."""
    assert selected(history(3000), every=1000) == [1, 1000, 2000, 3000]


def test_a_later_part_of_a_history_is_selected_by_epoch() -> None:
    """Bounds and multiples refer to the epochs of the training, positions to the chunk."""
    part = history(10, first_epoch=91)
    assert selected(part, every=5) == [95, 100]
    assert selected(part, from_epoch=1, to_epoch=92) == [91, 92]


def test_document_has_aligned_columns() -> None:
    """Losses, learning rate and metrics by split are lists of equal length; NaN becomes null."""
    chunk = history(3)
    chunk.values[1, 2] = math.nan
    document = history_document(chunk, HistoryQuery(from_epoch=2))
    assert document == {
        "epochs": [2, 3],
        "train_loss": [2.0, 3.0],
        "validation_loss": [4.0, None],
        "learning_rate": [6.0, 9.0],
        "metrics": {"accuracy": {"train": [8.0, 12.0], "validation": [10.0, 15.0]}},
        "next_epoch": 4,
    }


@pytest.mark.parametrize(("from_epoch", "next_epoch"), [(None, 1), (7, 7)])
def test_an_empty_history_has_the_next_epoch(from_epoch: int | None, next_epoch: int) -> None:
    """Before the first epoch, columns are empty and `next_epoch` is the requested first epoch."""
    document = history_document(None, HistoryQuery(from_epoch=from_epoch))
    assert document["epochs"] == document["train_loss"] == document["learning_rate"] == []
    assert document["metrics"] == {}
    assert document["next_epoch"] == next_epoch


def test_polling_reads_each_epoch_once() -> None:
    """Repeated requests from `next_epoch` yield each epoch exactly once."""
    read: list[int] = []
    following = 1
    for grown in (0, 3, 3, 10, 11):
        chunk = history(grown) if grown else None
        document = history_document(chunk, HistoryQuery(from_epoch=following))
        read += document["epochs"]
        following = document["next_epoch"]
    assert read == list(range(1, 12))


def test_flat_columns_have_the_names_of_the_csv_file() -> None:
    """The CSV file has a column for the epoch and for each column of the history."""
    assert list(flat_columns(history(2), HistoryQuery())) == ["epoch", *COLUMNS]
    assert flat_columns(None, HistoryQuery()) == {name: [] for name in ("epoch", *LOSS_COLUMNS)}


def test_epoch_document() -> None:
    """The values of one epoch have the form of `latest` and `best`."""
    values = dict(zip(COLUMNS, [1.0, math.nan, 0.1, 0.5, math.nan], strict=True))
    assert epoch_document(7, values) == {
        "epoch": 7,
        "train_loss": 1.0,
        "validation_loss": None,
        "metrics": {"accuracy": {"train": 0.5, "validation": None}},
    }


def test_values_in_units_have_an_object_of_their_own() -> None:
    """The loss and the metrics in the units of the targets are in `in_target_units`, without the suffix."""
    values = {
        "train_loss": 1.0,
        "validation_loss": 2.0,
        "learning_rate": 0.1,
        "train_r2_score": 0.5,
        "validation_r2_score": 0.4,
        "train_loss_in_target_units": 100.0,
        "validation_loss_in_target_units": 200.0,
        "train_r2_score_in_target_units": 0.5,
        "validation_r2_score_in_target_units": math.nan,
    }
    chunk = HistoryChunk(3, tuple(values), np.array([list(values.values())]).T)
    document = history_document(chunk, HistoryQuery())
    assert document["metrics"] == {"r2_score": {"train": [0.5], "validation": [0.4]}}
    assert document["in_target_units"] == {
        "loss": {"train": [100.0], "validation": [200.0]},
        "metrics": {"r2_score": {"train": [0.5], "validation": [None]}},
    }
    assert [*flat_columns(chunk, HistoryQuery())] == ["epoch", *values]
    assert epoch_document(3, values) == {
        "epoch": 3,
        "train_loss": 1.0,
        "validation_loss": 2.0,
        "metrics": {"r2_score": {"train": 0.5, "validation": 0.4}},
        "in_target_units": {
            "loss": {"train": 100.0, "validation": 200.0},
            "metrics": {"r2_score": {"train": 0.5, "validation": None}},
        },
    }


def test_chunks_of_different_columns_are_joined() -> None:
    """A job that a newer version continues may have more values: they are missing in the earlier epochs."""
    old = HistoryChunk(1, LOSS_COLUMNS, np.ones((3, 2)))
    new = HistoryChunk(3, (*LOSS_COLUMNS, "train_loss_in_target_units"), np.full((4, 1), 2.0))
    joined = HistoryChunk.join([old, new])
    assert joined.columns == new.columns
    np.testing.assert_array_equal(joined.values[:3], [[1, 1, 2]] * 3)
    np.testing.assert_array_equal(joined.values[3], [np.nan, np.nan, 2])
