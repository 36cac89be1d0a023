"""The pool of helpers, with real processes that import little."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from structlog.testing import capture_logs

from service.errors import LimitExceeded, Unavailable
from service.helper.client import Caller
from service.helper.pool import HelperPool
from service.processes.channel import MAX_BODY_IN_MEMORY_BYTES, BodyInFile
from service.processes.fork_server import ForkServer
from service.processes.messages import UnknownMessage
from service.processes.starter import Starter
from service.settings import Settings
from tests.support.server import until
from tests.support.small_helper import (
    MODULE,
    REQUESTS,
    Abort,
    AnswerWrongly,
    DieLater,
    Echo,
    EchoFile,
    Sleep,
    Spin,
)

LONG_SECONDS = 30.0
# Size of a body that the express helper does not try.
LARGE_BYTES = MAX_BODY_IN_MEMORY_BYTES + 1


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    """A fork server that has imported the small helper."""
    with closing(ForkServer([MODULE], LONG_SECONDS)) as server:
        yield server


@pytest.fixture(params=["asyncio", "uvloop"])
def with_pool(request: pytest.FixtureRequest, starter: Starter, tmp_path: Path) -> Callable[..., Any]:
    """Runs a coroutine with a pool, in each type of event loop that serves HTTP."""
    loop_factory = uvicorn.Config("", loop=request.param).get_loop_factory()

    def run(use: Callable[[HelperPool], Awaitable[Any]], helpers: int = 1, **changed: Any) -> Any:
        settings = Settings(data_dir=tmp_path, helpers=helpers, **changed)

        async def main() -> Any:
            pool = HelperPool(settings, starter, MODULE, REQUESTS)
            try:
                async with asyncio.timeout(LONG_SECONDS):
                    return await use(pool)
            finally:
                await pool.close()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(main())

    return run


def small_helpers() -> set[int]:
    """The ids of the running helper processes; one whose start was cancelled may end a moment later."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # the process has ended
            if "fitserve small helper" in child.cmdline():
                found.add(child.pid)
    return found


async def pid(pool: HelperPool) -> int:
    """The process id of the helper that answers."""
    answer, _ = await pool.call(Echo())
    return answer.pid


async def wait_until_started(pool: HelperPool) -> None:
    """Wait until a helper answers."""
    while True:
        with suppress(Unavailable):
            await pid(pool)
            return


def test_calls_are_answered(with_pool: Callable[..., Any]) -> None:
    """Arguments and large bodies come back, and consecutive calls use the same helper."""

    async def use(pool: HelperPool) -> None:
        body = os.urandom(5_000_000)
        answer, content = await pool.call(Echo([1, None]), body)
        assert (answer.value, content) == ([1, None], body)
        assert await pid(pool) == answer.pid == await pid(pool)

    with_pool(use, helpers=2)
    until(lambda: not small_helpers())


def test_a_large_answer_does_not_block_the_loop(with_pool: Callable[..., Any]) -> None:
    """While a large answer is received, other coroutines run."""

    async def use(pool: HelperPool) -> int:
        call = asyncio.create_task(pool.call(Echo(), bytes(100_000_000)))
        turns = 0
        while not call.done():
            turns += 1
            await asyncio.sleep(0)
        assert len((await call)[1]) == 100_000_000
        return turns

    assert with_pool(use) > 100  # a single read would leave few turns


def test_a_call_over_its_time_limit_kills_its_helper(with_pool: Callable[..., Any]) -> None:
    """A call that exceeds its time limit fails, its process is killed, and another one answers."""

    async def use(pool: HelperPool) -> None:
        before = await pid(pool)
        with pytest.raises(LimitExceeded, match=r"time limit of 0\.1 s"):
            await pool.call(Sleep(), timeout_seconds=0.1)
        assert await pid(pool) != before
        while psutil.pid_exists(before):
            await asyncio.sleep(0.01)

    with_pool(use)


def test_a_call_that_kills_two_helpers_fails(with_pool: Callable[..., Any]) -> None:
    """A call that kills two helpers fails; later calls are answered."""

    async def use(pool: HelperPool) -> None:
        with pytest.raises(LimitExceeded, match="killed its helper process twice"):
            await pool.call(Abort())
        await pid(pool)

    with_pool(use, helpers=2)


def test_dead_idle_helpers_are_replaced(with_pool: Callable[..., Any]) -> None:
    """If all idle helpers have died, the next call is answered by a replacement."""

    async def use(pool: HelperPool) -> None:
        await asyncio.gather(*(pool.call(DieLater()) for _ in range(6)))
        assert await pid(pool)

    with_pool(use, helpers=3)


def test_waiting_calls_are_served_in_order(with_pool: Callable[..., Any]) -> None:
    """Waiting calls are served in order; a call that waited too long fails and takes no helper."""

    async def use(pool: HelperPool) -> None:
        await wait_until_started(pool)
        large, order = bytes(LARGE_BYTES), list[int]()

        async def call(number: int) -> None:
            await pool.call(Echo(), large)
            order.append(number)

        await asyncio.gather(*(call(number) for number in range(20)))
        assert order == sorted(order)

    with_pool(use)


def test_a_call_that_waits_too_long_fails(with_pool: Callable[..., Any]) -> None:
    """A call for which no helper becomes free in time fails, and takes no helper."""

    async def use(pool: HelperPool) -> None:
        await wait_until_started(pool)
        large = bytes(LARGE_BYTES)  # not for the express helper
        calls = pool.call(Sleep(), large, timeout_seconds=4), pool.call(Echo(), large)
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in ended] == [LimitExceeded, Unavailable]

    with_pool(use, helper_timeout_seconds=3)


def test_long_calls_delay_short_ones_for_a_trial_at_most(with_pool: Callable[..., Any]) -> None:
    """While more long calls than helpers run or wait, a short call is answered within two trials."""

    async def use(pool: HelperPool) -> None:
        await wait_until_started(pool)
        long = [asyncio.create_task(pool.call(Spin(), timeout_seconds=20)) for _ in range(6)]
        for _ in range(3):
            await pool.call(Echo(), timeout_seconds=10)
        assert not any(call.done() for call in long)
        for call in long:
            call.cancel()
        await _results(long)

    with_pool(use)


def test_long_calls_of_a_lane_leave_a_helper_to_the_others(with_pool: Callable[..., Any]) -> None:
    """Long calls of one lane leave a regular helper for those of another, which may be long, too."""

    async def use(pool: HelperPool) -> None:
        await wait_until_started(pool)
        long = [asyncio.create_task(pool.call(Sleep(), bytes(LARGE_BYTES))) for _ in range(4)]
        await pool.call(EchoFile(), bytes(LARGE_BYTES))
        assert not any(call.done() for call in long)
        for call in long:
            call.cancel()
        await _results(long)

    with_pool(use)


def test_a_call_whose_client_is_gone_uses_no_helper(with_pool: Callable[..., Any]) -> None:
    """A call whose client has left while it waited fails with the client's error, and kills no helper."""

    async def leave() -> None:
        raise LookupError

    async def use(pool: HelperPool) -> None:
        await wait_until_started(pool)
        large = bytes(LARGE_BYTES)  # not for the express helper
        busy = [asyncio.create_task(pool.call(Echo(), large)) for _ in range(4)]
        await asyncio.sleep(0)
        with capture_logs() as lines, pytest.raises(LookupError):
            await pool.call(Sleep(), large, caller=Caller("left", leave))
        await _results(busy)
        assert lines == []  # no helper is replaced

    with_pool(use)


def test_a_body_may_come_from_a_file(with_pool: Callable[..., Any], tmp_path: Path) -> None:
    """A body in a file arrives like one in memory."""

    async def use(pool: HelperPool) -> None:
        content = os.urandom(3 * LARGE_BYTES)
        with (tmp_path / "body").open("wb+", buffering=0) as file:
            file.write(content)
            _, echoed = await pool.call(Echo(), BodyInFile(file, len(content)))
        assert echoed == content

    with_pool(use)


def test_cancelled_calls_leave_the_pool_unchanged(with_pool: Callable[..., Any]) -> None:
    """Cancelling a call, waiting or running, leaves the number of helpers unchanged."""

    async def use(pool: HelperPool) -> None:
        await pid(pool)
        for _ in range(3):
            calls = [asyncio.create_task(pool.call(Sleep())) for _ in range(4)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            assert all(isinstance(each, asyncio.CancelledError) for each in await _results(calls))
        await asyncio.gather(*(pid(pool) for _ in range(4)))
        while len(small_helpers()) != 4:  # one may just be starting
            await asyncio.sleep(0.05)

    with_pool(use, helpers=2)


async def _results(calls: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def test_a_request_that_is_not_json_uses_no_helper(with_pool: Callable[..., Any]) -> None:
    """Arguments that can't be written as JSON are an error before a helper is used."""

    async def use(pool: HelperPool) -> None:
        before = await pid(pool)
        with pytest.raises(TypeError):
            await pool.call(Echo(2**64))
        assert await pid(pool) == before

    with_pool(use)


def test_a_malformed_answer_kills_no_helper(with_pool: Callable[..., Any]) -> None:
    """An answer of an unexpected type fails the call and leaves the helper in the pool."""

    async def use(pool: HelperPool) -> None:
        before = await pid(pool)
        with pytest.raises(UnknownMessage, match="Sleep"):
            await pool.call(AnswerWrongly())
        assert await pid(pool) == before

    with_pool(use)


def test_a_pool_closed_while_it_replaces_a_helper(with_pool: Callable[..., Any]) -> None:
    """Closing a pool just after it killed a helper collects this helper and closes its channel."""

    async def use(pool: HelperPool) -> None:
        await wait_until_started(pool)
        with pytest.raises(LimitExceeded):
            await pool.call(Sleep(), timeout_seconds=0.05)
        for _ in range(3):  # the pool starts to collect it
            await asyncio.sleep(0)

    with_pool(use)
    gc.collect()  # a channel that is still open raises a ResourceWarning here
    until(lambda: not small_helpers())


def test_a_closed_pool_refuses_calls(with_pool: Callable[..., Any]) -> None:
    """Closing a pool kills its processes; running and later calls fail because the service is stopping."""

    async def use(pool: HelperPool) -> None:
        await pid(pool)
        running, waiting = (asyncio.create_task(pool.call(Sleep(), bytes(LARGE_BYTES))) for _ in range(2))
        await asyncio.sleep(0.05)
        await pool.close()
        until(lambda: not small_helpers())
        for call in (running, waiting, pool.call(Echo())):
            with pytest.raises(Unavailable, match="is stopping"):
                await call

    with_pool(use)
