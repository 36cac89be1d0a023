"""Changes of jobs wake the coroutines that wait for them."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from service.events.watch import MAX_COMMIT_DELAY, SharedReads, Watch
from service.storage.changes import Changes

LONG_SECONDS = 10.0
NOW = datetime(2026, 11, 24, tzinfo=UTC)


async def waits(watch: Watch, job_id: str, change: Callable[[], None], seconds: float = LONG_SECONDS) -> bool:
    """Return whether a change in another thread wakes a coroutine that waits for a job."""
    with watch.watching(job_id) as event:
        thread = threading.Thread(target=change)
        thread.start()
        await Watch.wait(event, seconds)
        thread.join()
        return event.is_set()


def test_a_change_wakes_its_waiter() -> None:
    """A change reported by another thread wakes the coroutine that waits for this job."""
    watch = Watch()
    assert asyncio.run(waits(watch, "job_1", lambda: watch.changed("job_1")))


def test_a_change_of_another_job_wakes_no_waiter() -> None:
    """A waiter is only woken by changes of its own job."""
    watch = Watch()
    assert not asyncio.run(waits(watch, "job_1", lambda: watch.changed("job_2"), seconds=0.1))


class Database:
    """A database that records its queries for changes."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.queried: list[datetime | None] = []

    def changes_since(self, time: datetime | None) -> Changes:
        """Return all versions as changed."""
        self.queried.append(time)
        return Changes(NOW, dict(self.versions))


def test_the_first_scan_wakes_all_waiters() -> None:
    """Changes before the first scan are unknown, so that scan wakes every waiter."""
    watch, database = Watch(), Database()

    async def both() -> list[bool]:
        scan = threading.Timer(0.1, watch.scan, [database.changes_since])
        return list(
            await asyncio.gather(waits(watch, "job_1", lambda: None), waits(watch, "job_2", scan.start))
        )

    assert asyncio.run(both()) == [True, True]


def test_a_scan_wakes_those_whose_job_has_changed() -> None:
    """A scan runs one query, from somewhat before the last scan; unchanged jobs wake no waiter."""
    watch, database = Watch(), Database()

    async def woken() -> list[bool]:
        with (
            watch.watching("job_1") as first,
            watch.watching("job_2") as other,
            watch.watching(None) as all_,
        ):
            watch.scan(database.changes_since)
            database.versions = {"job_2": 3, "job_9": 1}
            watch.scan(database.changes_since)
            await asyncio.sleep(0)
            for event in (first, other, all_):
                event.clear()
            watch.scan(database.changes_since)  # unchanged versions
            database.versions["job_2"] = 4
            watch.scan(database.changes_since)
            await asyncio.sleep(0)
            return [event.is_set() for event in (first, other, all_)]

    assert asyncio.run(woken()) == [False, True, True]
    assert database.queried == [None, NOW - MAX_COMMIT_DELAY, NOW - MAX_COMMIT_DELAY, NOW - MAX_COMMIT_DELAY]


def test_a_scan_without_waiters_runs_no_query() -> None:
    """While no coroutine waits, a scan does not query the database."""
    watch, database = Watch(), Database()
    watch.scan(database.changes_since)
    assert database.queried == []


def test_closing_wakes_all_waiters() -> None:
    """Closing a watch ends all waits."""
    watch = Watch()
    assert asyncio.run(waits(watch, "job_1", watch.close))
    assert watch.closed


def test_reads_are_shared() -> None:
    """Concurrent requests for one key get the result of a single read, or its error."""
    reads, made = SharedReads(), list[str]()

    def read() -> int:
        made.append("read")
        return len(made)

    def fail() -> int:
        raise KeyError

    async def ask() -> list[object]:
        asked = [reads.get("a", read), reads.get("a", read), reads.get("b", fail), reads.get("b", fail)]
        together = await asyncio.gather(*asked, return_exceptions=True)
        return [*together, await reads.get("a", read)]

    one, two, error, other, later = asyncio.run(ask())
    assert (one, two, later) == (1, 1, 2)
    assert isinstance(error, KeyError)
    assert isinstance(other, KeyError)


def test_a_read_that_has_started_is_not_shared_with_later_requests() -> None:
    """Requests during a read share another read, which starts after it."""
    reads = SharedReads()
    started, go_on = threading.Event(), threading.Event()
    world, made = {"version": 1}, list[int]()

    def read() -> int:
        version = world["version"]
        made.append(version)
        started.set()
        go_on.wait(LONG_SECONDS)
        return version

    async def ask() -> list[int]:
        first = asyncio.create_task(reads.get("a", read))
        await asyncio.to_thread(started.wait, LONG_SECONDS)
        world["version"] = 2
        later = [asyncio.create_task(reads.get("a", read)) for _ in range(3)]
        await asyncio.sleep(0)
        go_on.set()
        return [await first, *await asyncio.gather(*later)]

    assert asyncio.run(ask()) == [1, 2, 2, 2]
    assert made == [1, 2]


def test_a_change_before_the_wait_is_not_lost() -> None:
    """A change between reading a job and waiting ends the wait: the event stays set until it is cleared."""
    watch = Watch()

    async def late() -> bool:
        with watch.watching("job_1") as event:
            event.clear()
            watch.changed("job_1")
            await asyncio.sleep(0)
            await Watch.wait(event, LONG_SECONDS)
            return event.is_set()

    assert asyncio.run(late())


def test_waiting_ends_when_the_time_is_over() -> None:
    """Without a change, the wait ends after its time without an error."""
    assert not asyncio.run(waits(Watch(), "job_1", lambda: None, seconds=0.05))


def test_several_wait_for_one_job() -> None:
    """A change wakes all waiters of a job; one that has left does not affect the others."""
    watch = Watch()

    async def three() -> list[bool]:
        with watch.watching("job_1") as first:
            with watch.watching("job_1"), watch.watching("job_1") as third:
                pass
            watch.changed("job_1")
            await Watch.wait(first, LONG_SECONDS)
            return [first.is_set(), third.is_set()]

    assert asyncio.run(three()) == [True, False]


def test_a_waiter_that_has_left_is_forgotten() -> None:
    """A waiter that has left, even by an error, leaves no state behind; later changes use no closed loop."""
    watch = Watch()

    async def fails() -> None:
        with watch.watching("job_1"):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(fails())
    watch.changed("job_1")
    watch.close()
    assert not watch._waiting
    assert not watch._loops
