"""The training loop: chunks of about the requested duration, cut at the ends of epochs."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.history import LOSS_COLUMNS, HistoryChunk
from service.specs.job import StopReason
from service.training.checkpoints import Checkpoint, Snapshot
from service.training.engines.eager.engine import EagerEngine
from service.training.loop import GROWTH, train
from tests.support.toys import assert_same_history, engine, run, samples, training


@dataclass
class Clockwork:
    """An engine whose steps take a known time and compute nothing."""

    total_epochs: int
    steps_per_epoch: int
    seconds_per_step: float
    now: float = 0.0
    epoch: int = 0
    stop_reason: StopReason | None = None
    requested: list[int] = field(default_factory=list)
    _step: int = 0

    @property
    def steps_left(self) -> int:
        """Number of steps to the end of the current epoch."""
        return self.steps_per_epoch - self._step

    def advance(self, steps: int) -> HistoryChunk | None:
        """Advance the clock by the time of the steps."""
        self.requested.append(steps)
        first = self.epoch + 1
        for _ in range(steps):
            self.now += self.seconds_per_step
            self._step += 1
            if self._step == self.steps_per_epoch:
                self._step, self.epoch = 0, self.epoch + 1
            if self.epoch == self.total_epochs:
                self.stop_reason = StopReason.COMPLETED
                break
        made = self.epoch + 1 - first
        return HistoryChunk(first, LOSS_COLUMNS, np.zeros((3, made))) if made else None

    def checkpoint(self) -> Checkpoint:
        """Return a checkpoint of the epoch alone."""
        return Checkpoint(Snapshot(self.epoch, {}, {}))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from the epoch of a checkpoint."""
        self.epoch = checkpoint.last.epoch


def test_chunks_grow_to_the_requested_duration() -> None:
    """The first chunk is one step; the next ones grow until they take the requested duration."""
    clockwork = Clockwork(total_epochs=10_000, steps_per_epoch=1, seconds_per_step=0.001)
    for _ in train(clockwork, chunk_seconds=0.25, clock=lambda: clockwork.now):
        pass
    assert clockwork.requested[:2] == [1, GROWTH]
    settled = clockwork.requested[2:-1]
    assert settled == pytest.approx([250] * len(settled), abs=1)
    assert clockwork.epoch == 10_000


def test_slow_steps_are_chunks_of_one() -> None:
    """A step that takes longer than a chunk is a chunk of its own, and yields None inside an epoch."""
    clockwork = Clockwork(total_epochs=2, steps_per_epoch=3, seconds_per_step=1.0)
    chunks = list(train(clockwork, chunk_seconds=0.25, clock=lambda: clockwork.now))
    assert clockwork.requested == [1] * 6
    assert [chunk is None for chunk in chunks] == [True, True, False] * 2


def test_chunks_shrink_when_steps_become_slow() -> None:
    """Chunks of a training that slows down keep the requested duration."""
    clockwork = Clockwork(total_epochs=100_000, steps_per_epoch=1, seconds_per_step=0.0001)
    chunks = train(clockwork, chunk_seconds=0.25, clock=lambda: clockwork.now)
    for _ in itertools.islice(chunks, 6):
        pass
    clockwork.seconds_per_step = 0.1
    for _ in itertools.islice(chunks, 2):
        pass
    assert clockwork.requested[-1] == 2


@settings(deadline=None)
@given(
    epochs=st.integers(1, 40),
    steps_per_epoch=st.integers(1, 50),
    seconds_per_step=st.floats(1e-5, 1.0),
)
def test_a_chunk_with_epochs_ends_with_one(
    epochs: int, steps_per_epoch: int, seconds_per_step: float
) -> None:
    """A chunk is part of one epoch or ends with an epoch, and all chunks are the whole history."""
    clockwork = Clockwork(epochs, steps_per_epoch, seconds_per_step)
    epochs_seen: list[int] = []
    for chunk in train(clockwork, chunk_seconds=0.25, clock=lambda: clockwork.now):
        if chunk is None:
            assert clockwork.steps_left < steps_per_epoch
        else:
            assert clockwork.steps_left == steps_per_epoch
            epochs_seen += range(chunk.first_epoch, chunk.last_epoch + 1)
    assert epochs_seen == list(range(1, epochs + 1))


@settings(deadline=None)
@given(
    epochs=st.integers(1, 40),
    steps_per_epoch=st.integers(1, 50),
    seconds_per_step=st.floats(1e-5, 1.0),
    every=st.integers(1, 50),
)
def test_a_chunk_ends_where_a_checkpoint_is_due(
    epochs: int, steps_per_epoch: int, seconds_per_step: float, every: int
) -> None:
    """With `checkpoint_every`, a chunk ends at each multiple of it."""
    clockwork = Clockwork(epochs, steps_per_epoch, seconds_per_step)
    ends = [
        chunk.last_epoch
        for chunk in train(clockwork, every, chunk_seconds=0.25, clock=lambda: clockwork.now)
        if chunk is not None
    ]
    assert set(range(every, epochs + 1, every)) <= set(ends)


def test_a_clock_without_progress() -> None:
    """Chunks grow by a limited factor if the clock cannot measure a step."""
    clockwork = Clockwork(total_epochs=5000, steps_per_epoch=1, seconds_per_step=0.0)
    assert sum(1 for _ in train(clockwork, clock=lambda: 0.0)) < 10


def test_the_loop_trains_an_engine_to_its_end() -> None:
    """The chunks of a real engine are its history, and the iteration can stop after any of them."""
    spec = training(batch_size=4, epochs=30)
    history = run(engine(spec))
    looped = engine(spec)
    chunks = [chunk for chunk in train(looped, chunk_seconds=0.001) if chunk is not None]
    assert_same_history(HistoryChunk.join(chunks), history)
    assert looped.stop_reason is StopReason.COMPLETED
    abandoned = engine(spec)
    next(train(abandoned))
    assert abandoned.stop_reason is None


def test_a_long_validation_can_be_interrupted_between_slices() -> None:
    """Each slice of a validation is a chunk of its own."""
    data, spec = samples(n_train=8, n_val=40), training(batch_size=4, epochs=3)
    sliced = EagerEngine(engine(spec, data=data).components, evaluation_bytes=1)
    chunks = list(train(sliced, chunk_seconds=1000.0))
    assert sliced.steps_per_epoch == 2 + 10
    assert len(chunks) >= 3 * (10 + 1)
    assert [chunk.last_epoch for chunk in chunks if chunk is not None] == [1, 2, 3]


def test_an_ended_training_yields_nothing() -> None:
    """A training that has ended has no further chunks."""
    ended = engine(training(epochs=1))
    run(ended)
    assert list(train(ended)) == []
