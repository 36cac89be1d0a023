"""Jobs that keep coming after a group of their kind are gathered for a moment; all others start at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.worker.batching import GATHER_SECONDS, LOOK_SECONDS, STREAM_SECONDS, Gathering

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
def gathering(clock: Clock) -> Gathering:
    """Of a worker that has just trained a group of the kind `k`."""
    gathering = Gathering(clock.wait, lambda: clock.now)
    gathering.trained("k")
    return gathering


def growing(clock: Clock, per_second: float, first: int = 1) -> Callable[[], int]:
    """Counts jobs of which so many come in a second."""
    begin = clock.now
    return lambda: min(MOST, first + round(per_second * (clock.now - begin)))


def test_a_lone_job_is_not_kept_waiting(clock: Clock, gathering: Gathering) -> None:
    """Without a companion it starts at once, after a group of its kind too."""
    assert gathering.companions("k", lambda: 0, MOST) == 0
    assert clock.waits == []


@pytest.mark.parametrize(("kind", "later"), [("other", 0.0), ("k", STREAM_SECONDS + 0.1)])
def test_only_what_follows_a_group_of_its_kind_waits(
    clock: Clock, gathering: Gathering, kind: str, later: float
) -> None:
    """Other jobs start at once, and so do those of its kind a second later."""
    clock.now += later
    assert gathering.companions(kind, lambda: 5, MOST) == 5
    assert clock.waits == []


def test_a_new_worker_gathers_nothing(clock: Clock) -> None:
    """It has trained no group."""
    assert Gathering(clock.wait, lambda: clock.now).companions("k", lambda: 5, MOST) == 5
    assert clock.waits == []


def test_jobs_that_keep_coming_are_waited_for(clock: Clock, gathering: Gathering) -> None:
    """They are taken together after a quarter of a second, with all that came meanwhile."""
    count = growing(clock, per_second=100)
    assert gathering.companions("k", count, MOST) == count() > 1
    assert GATHER_SECONDS <= sum(clock.waits) + 1e-9 < GATHER_SECONDS + 2 * LOOK_SECONDS


def test_jobs_that_came_all_at_once_wait_for_one_look(clock: Clock, gathering: Gathering) -> None:
    """Where no more come, nothing is waited for."""
    assert gathering.companions("k", lambda: 15, MOST) == 15
    assert clock.waits == [LOOK_SECONDS]


def test_a_full_group_starts_at_once(clock: Clock, gathering: Gathering) -> None:
    """More are of no use."""
    assert gathering.companions("k", lambda: MOST, MOST) == MOST
    assert clock.waits == []
    assert gathering.companions("k", growing(clock, per_second=1000), MOST) == MOST
    assert clock.waits == [LOOK_SECONDS, LOOK_SECONDS]


def test_a_worker_that_is_to_stop_waits_no_longer(clock: Clock, gathering: Gathering) -> None:
    """What it has, it gives back soon."""
    clock.stops = True
    assert gathering.companions("k", growing(clock, per_second=100), MOST) == 1
    assert clock.waits == [LOOK_SECONDS]
