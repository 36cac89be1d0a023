"""A few warm processes that check requests, predict and read checkpoints, apart from the API.

A helper works on one call at a time, under a time and a memory limit. One that runs over its time or
dies is replaced; the call it was at is told so, or tried once more where it may not be to blame.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from service.errors import FieldError, FitserveError, LimitExceeded, Unavailable, problem_types
from service.processes.channel import AsyncChannel, packed
from service.processes.starter import Starter
from service.settings import MIB, Settings

log = structlog.get_logger()

MODULE = "service.helper.main"
# One that can't start is tried again after this time, or a broken installation would spin.
RESTART_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2
# A call is to blame when so many helpers have died over it.
MOST_DEATHS = 2
ENDED_POLL_SECONDS = 0.005
START_LOOK_SECONDS = 1.0


class Helper:
    """A helper process as the pool sees it.

    Attributes:
        child: the process.
        channel: what is said to it.
        gone: set once it is not to be called again.
        left: set while no call is at it.
    """

    def __init__(self, module: str, settings: Settings, starter: Starter) -> None:
        self.child = starter.start(module, settings)
        self.channel = AsyncChannel(self.child.channel)
        self.gone = asyncio.Event()
        self.left = asyncio.Event()
        self.left.set()

    def end(self) -> None:
        """End it; whoever keeps it collects it and starts another."""
        self.child.end()
        self.gone.set()


class HelperPool:
    """Calls tasks of helpers by name, from coroutines of the loop it was made in.

    Args:
        module: what a helper runs.
    """

    def __init__(self, settings: Settings, starter: Starter, module: str = MODULE) -> None:
        self._settings = settings
        self._starter = starter
        self._module = module
        # Last in, first out: a lone client meets the same helper, and the models it keeps loaded.
        self._free: list[Helper] = []
        self._free_count = asyncio.Semaphore(0)  # of those who wait, the first is served first
        self._is_warm = False
        self._is_closed = False
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(settings.helpers)]

    async def _keep(self) -> None:
        """Have a helper in the pool; another one whenever it is gone."""
        while True:
            try:
                await self._keep_one()
            except Exception:
                log.exception("helper could not start")
                await asyncio.sleep(RESTART_SECONDS)

    async def _keep_one(self) -> None:
        """Start a helper and have it called once it is warm, until it is gone."""
        helper = Helper(self._module, self._settings, self._starter)
        try:
            await self._first_message(helper)
            self._is_warm = True
            self._put(helper)
            await helper.gone.wait()
        finally:
            helper.end()
            while not helper.child.has_ended:  # a large process takes a moment
                await asyncio.sleep(ENDED_POLL_SECONDS)
            await helper.left.wait()  # a loop tells nobody that what is waited for was closed
            helper.child.kill()

    async def _first_message(self, helper: Helper) -> None:
        """Wait until a helper is ready; raise TimeoutError if its start shows no sign of life."""
        message = asyncio.ensure_future(helper.channel.receive())
        try:
            while not message.done():
                await asyncio.wait([message], timeout=START_LOOK_SECONDS)
                if time.monotonic() > helper.child.last_sign + self._settings.start_seconds:
                    raise TimeoutError("The helper process did not start.")
            message.result()
        finally:
            message.cancel()
            await asyncio.gather(message, return_exceptions=True)

    def ping(self) -> None:
        """Make sure that helpers can be called.

        Raises:
            Unavailable: while none has ever been warm.
        """
        if not self._is_warm:
            raise Unavailable("The helper processes are starting.", retry_after_seconds=RETRY_AFTER_SECONDS)

    async def call(
        self,
        task: str,
        arguments: Mapping[str, Any],
        body: bytes = b"",
        timeout_seconds: float | None = None,
    ) -> tuple[dict[str, Any], memoryview]:
        """Run one task.

        Args:
            task: its name.
            arguments: JSON-able.
            body: what it works on.
            timeout_seconds: its time limit; None: `helper_timeout_seconds`.

        Raises:
            FitserveError: what the task raised.
            LimitExceeded: it took too long or too much memory, and its process was ended.
            Unavailable: no helper became free in time, or none lived long enough to read the call.
        """
        limit_seconds = timeout_seconds or self._settings.helper_timeout_seconds
        message = packed({"task": task, "arguments": dict(arguments)}, body)
        deaths = 0
        # All that were idle may have died at once, which is no call's fault.
        for _ in range(self._settings.helpers + MOST_DEATHS):
            try:
                async with self._helper(task) as helper, asyncio.timeout(limit_seconds):
                    await helper.channel.send(message, body)
                    header, content = await helper.channel.receive()
            except EOFError:
                deaths += 1  # whether this call was to blame is told by another helper
                if deaths == MOST_DEATHS:
                    mebibytes = self._settings.helper_memory_bytes // MIB
                    raise LimitExceeded(
                        "The request ended its process twice; most likely it needs more than "
                        f"the {mebibytes} MiB it may take."
                    ) from None
            except TimeoutError:
                detail = f"The request was ended after the {limit_seconds:g} s it may take."
                raise LimitExceeded(detail) from None
            except OSError:
                continue  # Linux resets the socket of one that died before it had read the call
            else:
                if "problem" in header:
                    raise _revived(header["problem"])
                return header, content
        detail = "The helper processes die before they begin."
        raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)

    @asynccontextmanager
    async def _helper(self, task: str) -> AsyncIterator[Helper]:
        """A free helper; one over which anything goes wrong is replaced."""
        helper = await self._take()
        helper.left.clear()
        try:
            yield helper
        except BaseException:
            self._replace(helper, task)
            raise
        finally:
            helper.left.set()
        self._put(helper)

    def _put(self, helper: Helper) -> None:
        self._free.append(helper)
        self._free_count.release()

    async def _take(self) -> Helper:
        """A free helper, which is alive."""
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
            raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS) from None
        raise Unavailable("The service stops.", retry_after_seconds=RETRY_AFTER_SECONDS)

    def _replace(self, helper: Helper, task: str | None = None) -> None:
        log.warning("helper replaced", task=task, pid=helper.child.pid)
        helper.end()

    async def close(self) -> None:
        """End all helpers, which hold nothing that needs saving, and the calls that they are at."""
        self._is_closed = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)


def _revived(problem: Mapping[str, Any]) -> FitserveError:
    """The error a helper raised, from its JSON."""
    errors = [FieldError(**error) for error in problem["errors"]]
    return problem_types()[problem["slug"]](problem["detail"], errors, problem["retry_after_seconds"])
