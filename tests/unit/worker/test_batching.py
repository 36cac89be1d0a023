"""Waiting for companions: only jobs that keep arriving after a group with the same key wait."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.worker.batching import BATCH_SECONDS, POLL_SECONDS, STREAM_SECONDS, Batcher

MAX_COMPANIONS = 63


@dataclass
class Clock:
    """A clock that advances only by waiting.

    Attributes:
        waits: Seconds of each wait.
        stops: Value that `wait` returns; True if the worker is stopping.
    """

    now: float = 100.0
    waits: list[float] = field(default_factory=list)
    stops: bool = False

    def wait(self, seconds: float) -> bool:
        """Advance by `seconds`."""
        self.waits.append(seconds)
        self.now += seconds
        return self.stops


@pytest.fixture
def clock() -> Clock:
    """A clock at 100 s."""
    return Clock()


@pytest.fixture
def batcher(clock: Clock) -> Batcher:
    """The batcher of a worker that has just trained a group with key `k`."""
    batcher = Batcher(clock.wait, lambda: clock.now)
    batcher.group_ended("k")
    return batcher


def growing(clock: Clock, per_second: float, first: int = 1) -> Callable[[], int]:
    """Return a function that counts queued jobs, of which `per_second` arrive in a second."""
    start = clock.now
    return lambda: min(MAX_COMPANIONS, first + round(per_second * (clock.now - start)))


def test_a_single_job_does_not_wait(clock: Clock, batcher: Batcher) -> None:
    """A job without companions starts at once, even after a group with its key."""
    assert batcher.count_companions("k", lambda: 0, MAX_COMPANIONS) == 0
    assert clock.waits == []


@pytest.mark.parametrize(("key", "later"), [("other", 0.0), ("k", STREAM_SECONDS + 0.1)])
def test_only_jobs_shortly_after_a_group_with_their_key_wait(
    clock: Clock, batcher: Batcher, key: str, later: float
) -> None:
    """Jobs with another key, and jobs that arrive later, start at once."""
    clock.now += later
    assert batcher.count_companions(key, lambda: 5, MAX_COMPANIONS) == 5
    assert clock.waits == []


def test_a_new_worker_does_not_wait(clock: Clock) -> None:
    """A worker that has trained no group starts jobs at once."""
    assert Batcher(clock.wait, lambda: clock.now).count_companions("k", lambda: 5, MAX_COMPANIONS) == 5
    assert clock.waits == []


def test_jobs_that_keep_arriving_are_batched(clock: Clock, batcher: Batcher) -> None:
    """While companions keep arriving, the worker waits `BATCH_SECONDS` and claims all of them."""
    count = growing(clock, per_second=100)
    assert batcher.count_companions("k", count, MAX_COMPANIONS) == count() > 1
    assert BATCH_SECONDS <= sum(clock.waits) + 1e-9 < BATCH_SECONDS + 2 * POLL_SECONDS


def test_jobs_that_arrived_together_wait_for_one_poll(clock: Clock, batcher: Batcher) -> None:
    """The worker stops waiting at the first poll that finds no new companion."""
    assert batcher.count_companions("k", lambda: 15, MAX_COMPANIONS) == 15
    assert clock.waits == [POLL_SECONDS]


def test_a_full_group_starts_at_once(clock: Clock, batcher: Batcher) -> None:
    """The worker stops waiting as soon as the group is full."""
    assert batcher.count_companions("k", lambda: MAX_COMPANIONS, MAX_COMPANIONS) == MAX_COMPANIONS
    assert clock.waits == []
    count = growing(clock, per_second=1000)
    assert batcher.count_companions("k", count, MAX_COMPANIONS) == MAX_COMPANIONS
    assert clock.waits == [POLL_SECONDS, POLL_SECONDS]


def test_a_stopping_worker_does_not_wait(clock: Clock, batcher: Batcher) -> None:
    """A worker that is stopping ends its wait at the next poll."""
    clock.stops = True
    assert batcher.count_companions("k", growing(clock, per_second=100), MAX_COMPANIONS) == 1
    assert clock.waits == [POLL_SECONDS]
