"""The helper processes of an API process, and the queue of calls to them.

A helper runs one call at a time, under a time limit and a memory limit. A helper that exceeds the time limit
or dies is replaced. Its call fails with an error, or is retried once where another cause is possible.

No client and no kind of call can delay the others for long:

- Waiting calls are served in turns of client and lane (checks, results, files).
- The calls of a lane never occupy all regular helpers, of which there are at least two.
- The express helpers try the newest calls when no regular helper is free for them. A call that needs more
  than half a second of processor time is stopped, and continues to wait for a regular helper: so a short
  call waits for at most one trial.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from service import retry_after
from service.errors import LimitExceeded, Unavailable
from service.helper.client import NOBODY, Caller
from service.helper.messages import REQUESTS
from service.helper.queue import CallQueue, WaitingCall
from service.helper.request import Lane, Problem, Request
from service.processes.channel import MAX_BODY_IN_MEMORY_BYTES, AsyncChannel, BodyInFile, pack_header
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
# Two, since a helper that was stopped after a trial is replaced in about the time of another trial.
EXPRESS_COUNT = 2
# Limit of a trial, in processor time: the time on a clock depends on what else the machine does.
TRIAL_CPU_SECONDS = 0.5
TRIAL_POLL_SECONDS = 0.1
_BUSY: Mapping[Lane, str] = {
    "checks": "All helper processes are busy.",
    "results": "All helper processes are busy.",
    "files": "Other files are being read.",
}
ENDED_POLL_SECONDS = 0.005
START_POLL_SECONDS = 1.0


class Helper:
    """A helper process as the pool sees it.

    Attributes:
        child: The process.
        channel: The channel to it.
        gone: Set once it must not be called again.
        idle: Set while no call uses it.
        is_express: Whether it only tries calls for a short time.
        trial_ended: Whether it has tried its last call for too long.
    """

    def __init__(self, module: str, settings: Settings, starter: Starter, *, is_express: bool) -> None:
        self.child = starter.start(module, settings)
        self.channel = AsyncChannel(self.child.channel, settings.spool())
        self.is_express, self.trial_ended = is_express, False
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
        settings.spool().mkdir(parents=True, exist_ok=True)
        self._regular_count = max(2, settings.helpers)
        # Last in, first out: consecutive calls of a single client find the models they need already loaded.
        self._free: list[Helper] = []
        self._free_express: list[Helper] = []
        self._waiting = CallQueue[Helper]()
        self._running = Counter[Lane]()  # on regular helpers
        self._is_warm = False
        self._is_closed = False
        self._collections: set[asyncio.Task[None]] = set()
        self._keepers = [
            asyncio.create_task(self._keep(is_express=is_express))
            for is_express in [False] * self._regular_count + [True] * EXPRESS_COUNT
        ]

    async def _keep(self, *, is_express: bool) -> None:
        """Keep one helper in the pool, replacing it whenever it is gone."""
        while True:
            try:
                await self._keep_one(is_express=is_express)
            except Exception:  # whatever the reason, the pool needs a helper: try again later
                log.exception("helper could not start")
                await asyncio.sleep(RESTART_SECONDS)

    async def _keep_one(self, *, is_express: bool) -> None:
        """Start a helper, add it to the pool once it is ready, and collect it once it is gone."""
        helper = Helper(self._module, self._settings, self._starter, is_express=is_express)
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
        self,
        request: Request[A],
        body: bytes | BodyInFile = b"",
        timeout_seconds: float | None = None,
        caller: Caller = NOBODY,
    ) -> tuple[A, memoryview]:
        """Run one task.

        Args:
            request: The task and its arguments.
            body: The data that the task works on.
            timeout_seconds: The task's time limit, and that of waiting for a helper; None:
                `helper_timeout_seconds`.
            caller: The client.

        Returns:
            The answer, and the body that comes with it.

        Raises:
            FitserveError: The task raised this error.
            LimitExceeded: The task took too much time or memory, and its process was killed.
            Unavailable: No helper became free in time, or none lived long enough to read the call.
            UnknownMessage: The helper doesn't understand the request, or its answer is malformed.
        """
        limit_seconds = timeout_seconds or self._settings.helper_timeout_seconds
        header = pack_header(self._requests.dump(request), body)
        is_brief = len(body) <= MAX_BODY_IN_MEMORY_BYTES
        deaths = 0
        # All idle helpers may have died at once without any call being the cause, hence the many attempts.
        for _ in range(len(self._keepers) + MAX_DEATHS):
            waiting = WaitingCall[Helper](type(request).__name__, caller.name, request.lane, is_brief)
            try:
                async with (
                    self._helper(waiting, caller, limit_seconds) as helper,
                    asyncio.timeout(limit_seconds) as deadline,
                    _trial(helper, deadline),
                ):
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
                if helper.trial_ended:
                    is_brief = False
                    continue
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
    async def _helper(
        self, call: WaitingCall[Helper], caller: Caller, patience_seconds: float
    ) -> AsyncIterator[Helper]:
        """Take a free helper and put it back; replace it if the call raises."""
        self._enqueue(call)
        if call.helper.done():
            helper = call.helper.result()
        else:
            helper = await self._wait(call, patience_seconds)
            try:
                # Takes longer than all else here, so it is left out for a call that did not wait.
                await caller.check()
            except BaseException:
                self._put(helper, call)
                raise
        helper.idle.clear()
        try:
            yield helper
        except BaseException as error:  # a cancelled call as well: the helper would still work on it
            self._replace(helper, call.task, error)
            raise
        finally:
            helper.idle.set()
            self._put(helper, call)

    def _put(self, helper: Helper, call: WaitingCall[Helper] | None = None) -> None:
        """Put a helper into the pool, after a call if it had one, unless it is gone."""
        if call is not None and not helper.is_express:
            self._running[call.lane] -= 1
        if not helper.gone.is_set():
            (self._free_express if helper.is_express else self._free).append(helper)
        self._serve()

    def _enqueue(self, call: WaitingCall[Helper]) -> None:
        """Put a call into the queue; it has a helper at once if one is free."""
        if self._is_closed:
            raise _stopping()
        self._waiting.push(call)
        self._serve()

    async def _wait(self, call: WaitingCall[Helper], patience_seconds: float) -> Helper:
        """Wait for a free helper that is alive."""
        try:
            async with asyncio.timeout(patience_seconds):
                return await call.helper
        except BaseException as error:
            if call.helper.done() and not call.helper.cancelled() and not call.helper.exception():
                self._put(call.helper.result(), call)
            call.helper.cancel()
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    _BUSY[call.lane], retry_after_seconds=retry_after.HELPERS_BUSY_SECONDS
                ) from None
            raise

    def _serve(self) -> None:
        """Give free helpers to waiting calls."""
        while self._free and (call := self._waiting.pop_oldest(self._admits)):
            self._give(self._free, call)
        while self._free_express and (call := self._waiting.pop_newest_brief()):
            self._give(self._free_express, call)

    def _admits(self, lane: Lane) -> bool:
        """Return whether a lane may have a further regular helper."""
        return self._running[lane] < self._regular_count - 1

    def _give(self, helpers: list[Helper], call: WaitingCall[Helper]) -> None:
        """Give a call a helper that is alive."""
        while helpers:
            helper = helpers.pop()
            if not helper.child.has_ended:
                self._running[call.lane] += not helper.is_express
                call.helper.set_result(helper)
                return
            log.warning("helper died", pid=helper.child.pid)
            helper.end()
        self._waiting.push(call)

    def _replace(self, helper: Helper, task: str, error: BaseException) -> None:
        if helper.trial_ended:
            log.info("slow call moved to another helper", task=task)
        else:
            log.warning("helper replaced", task=task, pid=helper.child.pid, reason=type(error).__name__)
        helper.end()

    async def close(self) -> None:
        """Kill all helpers, which hold no unsaved state, and fail the calls they are running."""
        self._is_closed = True
        self._waiting.fail_all(_stopping)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*self._collections)


@asynccontextmanager
async def _trial(helper: Helper, deadline: asyncio.Timeout) -> AsyncIterator[None]:
    """Let a call reach its deadline once an express helper has used enough processor time for it."""
    if not helper.is_express:
        yield
        return
    limit_seconds = helper.child.cpu_seconds() + TRIAL_CPU_SECONDS

    async def watch() -> None:
        while helper.child.cpu_seconds() < limit_seconds:
            await asyncio.sleep(TRIAL_POLL_SECONDS)
        helper.trial_ended = True
        deadline.reschedule(0.0)

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


def _stopping() -> Unavailable:
    return Unavailable("The service is stopping.", retry_after_seconds=retry_after.HELPERS_BUSY_SECONDS)


async def _collect(helper: Helper) -> None:
    """Wait for the end of a killed helper, and close its channel."""
    while not helper.child.has_ended:  # a large process takes a moment to exit
        await asyncio.sleep(ENDED_POLL_SECONDS)
    # An event loop doesn't wake a coroutine that waits for a socket when the socket is closed, so the call
    # has to leave before the channel is closed.
    await helper.idle.wait()
    helper.child.kill()
