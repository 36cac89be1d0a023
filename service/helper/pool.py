"""The helper processes of an API process, and the queue of calls to them.

A helper runs one call at a time, under a time limit and a memory limit. A helper that exceeds the time limit
or dies is replaced. Its call fails with an error, or is retried once where another cause is possible.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from service import retry_after
from service.errors import LimitExceeded, Unavailable
from service.helper.messages import REQUESTS
from service.helper.request import Problem, Request
from service.processes.channel import AsyncChannel, pack_header
from service.processes.messages import Messages
from service.processes.starter import Starter
from service.settings import MIB, Settings

log = structlog.get_logger()

A = TypeVar("A")

MODULE = "service.helper.main"
# Delay before a helper that failed to start is started again, so that a broken installation doesn't spin.
RESTART_SECONDS = 5.0
# A call is refused once this many helpers have died while running it.
MAX_DEATHS = 2
ENDED_POLL_SECONDS = 0.005
START_POLL_SECONDS = 1.0


class Helper:
    """A helper process as the pool sees it.

    Attributes:
        child: The process.
        channel: The channel to it.
        gone: Set once it must not be called again.
        idle: Set while no call uses it.
    """

    def __init__(self, module: str, settings: Settings, starter: Starter) -> None:
        self.child = starter.start(module, settings)
        self.channel = AsyncChannel(self.child.channel)
        self.gone = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    def end(self) -> None:
        """Kill the process; its keeper collects it and starts another."""
        self.child.end()
        self.gone.set()


class HelperPool:
    """Run tasks in helpers, for coroutines of the event loop that the pool was created in.

    Args:
        settings: Number of helpers and limits.
        starter: Starts the processes.
        module: The module that a helper process runs.
        requests: The requests that this module understands.
    """

    def __init__(
        self,
        settings: Settings,
        starter: Starter,
        module: str = MODULE,
        requests: Messages[Request[Any]] = REQUESTS,
    ) -> None:
        self._settings = settings
        self._starter = starter
        self._module = module
        self._requests = requests
        # Last in, first out: consecutive calls of a single client find the models they need already loaded.
        self._free: list[Helper] = []
        self._free_count = asyncio.Semaphore(0)  # wakes waiting calls in the order of their arrival
        self._is_warm = False
        self._is_closed = False
        self._collections: set[asyncio.Task[None]] = set()
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(settings.helpers)]

    async def _keep(self) -> None:
        """Keep one helper in the pool, replacing it whenever it is gone."""
        while True:
            try:
                await self._keep_one()
            except Exception:  # whatever the reason, the pool needs a helper: try again later
                log.exception("helper could not start")
                await asyncio.sleep(RESTART_SECONDS)

    async def _keep_one(self) -> None:
        """Start a helper, add it to the pool once it is ready, and collect it once it is gone."""
        helper = Helper(self._module, self._settings, self._starter)
        try:
            await self._wait_until_ready(helper)
            self._is_warm = True
            self._put(helper)
            await helper.gone.wait()
        finally:
            helper.end()
            collection = asyncio.create_task(_collect(helper))
            self._collections.add(collection)
            collection.add_done_callback(self._collections.discard)
            await asyncio.shield(collection)  # finishes even if `close` cancels this keeper now

    async def _wait_until_ready(self, helper: Helper) -> None:
        """Wait for the first message of a helper.

        Raises:
            TimeoutError: The starting process has shown no sign of life for `start_seconds`.
        """
        message = asyncio.ensure_future(helper.channel.receive())
        try:
            while not message.done():
                await asyncio.wait([message], timeout=START_POLL_SECONDS)
                if time.monotonic() > helper.child.last_sign + self._settings.start_seconds:
                    raise TimeoutError("The helper process did not start.")
            message.result()
        finally:
            message.cancel()
            await asyncio.gather(message, return_exceptions=True)

    def ping(self) -> None:
        """Check that helpers can be called.

        Raises:
            Unavailable: No helper has started yet.
        """
        if not self._is_warm:
            raise Unavailable(
                "The helper processes are starting.", retry_after_seconds=retry_after.HELPERS_BUSY_SECONDS
            )

    async def call(
        self, request: Request[A], body: bytes = b"", timeout_seconds: float | None = None
    ) -> tuple[A, memoryview]:
        """Run one task.

        Args:
            request: The task and its arguments.
            body: The data that the task works on.
            timeout_seconds: The task's time limit; None: `helper_timeout_seconds`.

        Returns:
            The answer, and the body that comes with it.

        Raises:
            FitserveError: The task raised this error.
            LimitExceeded: The task took too much time or memory, and its process was killed.
            Unavailable: No helper became free in time, or none lived long enough to read the call.
            UnknownMessage: The helper doesn't understand the request, or its answer is malformed.
        """
        task = type(request).__name__
        limit_seconds = timeout_seconds or self._settings.helper_timeout_seconds
        header = pack_header(self._requests.dump(request), body)
        deaths = 0
        # All idle helpers may have died at once without any call being the cause, hence the many attempts.
        for _ in range(self._settings.helpers + MAX_DEATHS):
            try:
                async with self._helper(task) as helper, asyncio.timeout(limit_seconds):
                    await helper.channel.send(header, body)
                    answered, content = await helper.channel.receive()
            except EOFError:
                deaths += 1  # a second helper shows whether this call is the cause
                if deaths == MAX_DEATHS:
                    mebibytes = self._settings.helper_memory_bytes // MIB
                    raise LimitExceeded(
                        "The request killed its helper process twice; most likely it exceeds the memory "
                        f"limit of {mebibytes} MiB."
                    ) from None
            except TimeoutError:
                detail = f"The request exceeded the time limit of {limit_seconds:g} s and was stopped."
                raise LimitExceeded(detail) from None
            except OSError:
                continue  # Linux resets the socket of a process that died before it had read the call
            else:
                answer = request.answers.load(answered)
                if isinstance(answer, Problem):
                    raise answer.error()
                return answer, content
        detail = "The helper processes die before they read the request."
        raise Unavailable(detail, retry_after_seconds=retry_after.HELPERS_BUSY_SECONDS)

    @asynccontextmanager
    async def _helper(self, task: str) -> AsyncIterator[Helper]:
        """Take a free helper and put it back; replace it if the call raises."""
        helper = await self._take()
        helper.idle.clear()
        try:
            yield helper
        except BaseException:  # a cancelled call as well: the helper would still work on it
            self._replace(helper, task)
            raise
        finally:
            helper.idle.set()
        self._put(helper)

    def _put(self, helper: Helper) -> None:
        self._free.append(helper)
        self._free_count.release()

    async def _take(self) -> Helper:
        """Wait for a free helper that is alive."""
        try:
            async with asyncio.timeout(self._settings.helper_timeout_seconds):
                while not self._is_closed:
                    await self._free_count.acquire()
                    helper = self._free.pop()
                    if not helper.child.has_ended:
                        return helper
                    self._replace(helper)
        except TimeoutError:
            detail = "All helper processes are busy."
            raise Unavailable(detail, retry_after_seconds=retry_after.HELPERS_BUSY_SECONDS) from None
        raise Unavailable("The service is stopping.", retry_after_seconds=retry_after.HELPERS_BUSY_SECONDS)

    def _replace(self, helper: Helper, task: str | None = None) -> None:
        log.warning("helper replaced", task=task, pid=helper.child.pid)
        helper.end()

    async def close(self) -> None:
        """Kill all helpers, which hold no unsaved state, and fail the calls they are running."""
        self._is_closed = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*self._collections)


async def _collect(helper: Helper) -> None:
    """Wait for the end of a killed helper, and close its channel."""
    while not helper.child.has_ended:  # a large process takes a moment to exit
        await asyncio.sleep(ENDED_POLL_SECONDS)
    # An event loop doesn't wake a coroutine that waits for a socket when the socket is closed, so the call
    # has to leave before the channel is closed.
    await helper.idle.wait()
    helper.child.kill()
