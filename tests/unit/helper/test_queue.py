"""The order in which waiting calls are served."""

import asyncio
from collections.abc import Sequence

import pytest

from service.errors import Unavailable
from service.helper.queue import CallQueue, WaitingCall
from service.helper.request import Lane


def waiting(queue: CallQueue[int], caller: str, count: int = 1, **changed: object) -> list[WaitingCall[int]]:
    """Add calls of a client to a queue."""
    calls = []
    for number in range(count):
        given = {"lane": "checks", "is_brief": True, **changed}
        call = WaitingCall[int](f"{caller}{number}", caller, **given)  # type: ignore[arg-type]
        queue.push(call)
        calls.append(call)
    return calls


def order(queue: CallQueue[int], lanes: Sequence[Lane] = ("checks", "results", "files")) -> str:
    """Take all calls, the oldest first, and return their tasks."""
    tasks = []
    while call := queue.pop_oldest(lambda lane: lane in lanes):
        tasks.append(call.task)
    return " ".join(tasks)


def test_clients_take_turns() -> None:
    """A client with many calls delays another by one call only; the calls of each are served in order."""

    async def use() -> None:
        queue = CallQueue[int]()
        waiting(queue, "a", 4)
        waiting(queue, "b", 2)
        assert order(queue) == "a0 b0 a1 b1 a2 a3"

    asyncio.run(use())


def test_lanes_take_turns() -> None:
    """The lanes of a client take turns, and a lane that has no room is passed over."""

    async def use() -> None:
        queue = CallQueue[int]()
        for lane in ("checks", "results"):
            waiting(queue, lane[0], 2, lane=lane)
        assert order(queue, ["results"]) == "r0 r1"
        assert order(queue) == "c0 c1"

    asyncio.run(use())


def test_the_newest_brief_call_is_tried() -> None:
    """The express helper gets the newest call of the next client that it has not tried."""

    async def use() -> None:
        queue = CallQueue[int]()
        waiting(queue, "a", 3)
        waiting(queue, "a", 1, is_brief=False)
        waiting(queue, "b", 2)
        tasks = []
        while call := queue.pop_newest_brief():
            tasks.append(call.task)
        assert " ".join(tasks) == "a2 b1 a1 b0 a0"
        assert order(queue) == "a0"  # the one that is not brief

    asyncio.run(use())


def test_cancelled_calls_are_skipped() -> None:
    """Calls that no longer wait are skipped and forgotten."""

    async def use() -> None:
        queue = CallQueue[int]()
        for call in waiting(queue, "a", 3)[:2]:
            call.helper.cancel()
        assert order(queue) == "a2"
        waiting(queue, "a")[0].helper.cancel()
        assert queue.pop_newest_brief() is None
        assert order(queue) == ""

    asyncio.run(use())


def test_waiting_calls_fail_when_the_pool_closes() -> None:
    """All waiting calls get the error; the queue is empty afterwards."""

    async def use() -> None:
        queue = CallQueue[int]()
        calls = waiting(queue, "a", 2)
        queue.fail_all(Unavailable)
        for call in calls:
            with pytest.raises(Unavailable):
                await call.helper
        assert order(queue) == ""

    asyncio.run(use())
