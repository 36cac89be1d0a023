"""Jobs that keep arriving after a group of their key are batched; all others start at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.worker.batching import BATCH_SECONDS, POLL_SECONDS, STREAM_SECONDS, Batcher

MOST = 63


@dataclass
class Clock:
    """Time that passes only where it is waited."""

    now: float = 100.0
    waits: list[float] = field(default_factory=list)
    stops: bool = False

    def wait(self, seconds: float) -> bool:
        """Let so much time pass."""
        self.waits.append(seconds)
        self.now += seconds
        return self.stops


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def batcher(clock: Clock) -> Batcher:
    """Of a worker that has just trained a group of the kind `k`."""
    batcher = Batcher(clock.wait, lambda: clock.now)
    batcher.group_ended("k")
    return batcher


def growing(clock: Clock, per_second: float, first: int = 1) -> Callable[[], int]:
    """Counts jobs of which so many come in a second."""
    begin = clock.now
    return lambda: min(MOST, first + round(per_second * (clock.now - begin)))


def test_a_lone_job_is_not_kept_waiting(clock: Clock, batcher: Batcher) -> None:
    """Without a companion it starts at once, after a group of its kind too."""
    assert batcher.count_companions("k", lambda: 0, MOST) == 0
    assert clock.waits == []


@pytest.mark.parametrize(("kind", "later"), [("other", 0.0), ("k", STREAM_SECONDS + 0.1)])
def test_only_what_follows_a_group_of_its_kind_waits(
    clock: Clock, batcher: Batcher, kind: str, later: float
) -> None:
    """Other jobs start at once, and so do those of its kind a second later."""
    clock.now += later
    assert batcher.count_companions(kind, lambda: 5, MOST) == 5
    assert clock.waits == []


def test_a_new_worker_gathers_nothing(clock: Clock) -> None:
    """It has trained no group."""
    assert Batcher(clock.wait, lambda: clock.now).count_companions("k", lambda: 5, MOST) == 5
    assert clock.waits == []


def test_jobs_that_keep_coming_are_waited_for(clock: Clock, batcher: Batcher) -> None:
    """They are taken together after a quarter of a second, with all that came meanwhile."""
    count = growing(clock, per_second=100)
    assert batcher.count_companions("k", count, MOST) == count() > 1
    assert BATCH_SECONDS <= sum(clock.waits) + 1e-9 < BATCH_SECONDS + 2 * POLL_SECONDS


def test_jobs_that_came_all_at_once_wait_for_one_look(clock: Clock, batcher: Batcher) -> None:
    """Where no more come, nothing is waited for."""
    assert batcher.count_companions("k", lambda: 15, MOST) == 15
    assert clock.waits == [POLL_SECONDS]


def test_a_full_group_starts_at_once(clock: Clock, batcher: Batcher) -> None:
    """More are of no use."""
    assert batcher.count_companions("k", lambda: MOST, MOST) == MOST
    assert clock.waits == []
    assert batcher.count_companions("k", growing(clock, per_second=1000), MOST) == MOST
    assert clock.waits == [POLL_SECONDS, POLL_SECONDS]


def test_a_worker_that_is_to_stop_waits_no_longer(clock: Clock, batcher: Batcher) -> None:
    """What it has, it gives back soon."""
    clock.stops = True
    assert batcher.count_companions("k", growing(clock, per_second=100), MOST) == 1
    assert clock.waits == [POLL_SECONDS]
