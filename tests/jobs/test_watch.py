"""Who waits for a job is told when something about it has changed."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.jobs.watch import Watch

LONG_SECONDS = 10.0


async def waits(watch: Watch, job_id: str, change: Callable[[], None], seconds: float = LONG_SECONDS) -> bool:
    """Whether a waiter for a job is woken by a change made in another thread."""
    with watch.watching(job_id) as event:
        thread = threading.Thread(target=change)
        thread.start()
        await Watch.wait(event, seconds)
        thread.join()
        return event.is_set()


def test_a_change_wakes_its_waiter() -> None:
    """A change told from a worker's thread wakes the coroutine that waits for this job."""
    watch = Watch()
    assert asyncio.run(waits(watch, "job_1", lambda: watch.changed("job_1")))


def test_a_change_of_another_job_wakes_nobody_else() -> None:
    """Waiters are told of their own job only."""
    watch = Watch()
    assert not asyncio.run(waits(watch, "job_1", lambda: watch.changed("job_2"), seconds=0.1))


def test_a_sweep_wakes_everyone() -> None:
    """A sweep lets each waiter look for itself."""
    watch = Watch()

    async def both() -> list[bool]:
        first = waits(watch, "job_1", lambda: None)
        second = waits(watch, "job_2", lambda: threading.Timer(0.1, watch.sweep).start())
        return list(await asyncio.gather(first, second))

    assert asyncio.run(both()) == [True, True]


def test_a_change_before_the_wait_is_not_lost() -> None:
    """What happens between looking and waiting is seen: the event stays set until it is cleared."""
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
    """Without a change the wait ends quietly."""
    assert not asyncio.run(waits(Watch(), "job_1", lambda: None, seconds=0.05))


def test_several_wait_for_one_job() -> None:
    """All waiters of a job are told, and one that leaves leaves the others."""
    watch = Watch()

    async def three() -> list[bool]:
        with watch.watching("job_1") as first:
            with watch.watching("job_1"), watch.watching("job_1") as third:
                pass
            watch.changed("job_1")
            await Watch.wait(first, LONG_SECONDS)
            return [first.is_set(), third.is_set()]

    assert asyncio.run(three()) == [True, False]


def test_nobody_is_remembered_after_waiting() -> None:
    """A waiter that is gone, also by an error, leaves nothing behind, and changes reach no closed loop."""
    watch = Watch()

    async def fails() -> None:
        with watch.watching("job_1"):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(fails())
    watch.changed("job_1")
    watch.sweep()
    assert not watch._waiting
    assert not watch._loops
