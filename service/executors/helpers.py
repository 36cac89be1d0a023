"""A few warm processes that check requests, predict and read checkpoints, apart from the API.

A helper works on one call at a time, under a time and a memory limit. One that runs over its time or
dies is replaced; only the call it was at is lost, and told so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from service.errors import FieldError, FitserveError, LimitExceeded, Unavailable, problem_types
from service.executors.child import Child
from service.jobs.channel import AsyncChannel
from service.settings import MIB, Settings

log = structlog.get_logger()

MODULE = "service.jobs.helper"
# A new helper imports torch before it answers for the first time.
START_SECONDS = 60.0
# One that can't start is tried again after this time, or a broken installation would spin.
RESTART_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2
# A call is given up when so many helpers have died over it.
MOST_DEATHS = 2


class Helper:
    """A helper process as the pool sees it.

    Attributes:
        child: the process.
        channel: what is said to it.
        gone: set once it is not to be called again.
    """

    def __init__(self, settings: Settings) -> None:
        self.child = Child(MODULE, settings)
        self.channel = AsyncChannel(self.child.channel)
        self.gone = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether it has died while it was idle: its socket has something to say, its end."""
        return self.child.channel.ready(0.0)


class HelperPool:
    """Calls tasks of `service.jobs.helper` by name, from coroutines of the loop it was made in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._all: set[Helper] = set()
        # Last in, first out: a lone client meets the same helper, and the models it keeps loaded.
        self._free: list[Helper] = []
        self._free_count = asyncio.Semaphore(0)  # who has waited longest is served first
        self._is_warm = False
        self._keepers = [asyncio.create_task(self._keep_one()) for _ in range(settings.helpers)]

    async def _keep_one(self) -> None:
        """Start a helper whenever this one is gone; again where that fails, until it doesn't."""
        while True:
            try:
                helper = await self._start()
            except Exception:
                log.exception("helper could not start")
                await asyncio.sleep(RESTART_SECONDS)
            else:
                await helper.gone.wait()

    async def _start(self) -> Helper:
        """Start a helper and wait for its first word, so that only warm ones are called."""
        helper = Helper(self._settings)
        self._all.add(helper)
        try:
            async with asyncio.timeout(START_SECONDS):
                await helper.channel.receive()
        except BaseException:
            self._end(helper)
            raise
        self._is_warm = True
        self._put(helper)
        return helper

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
    ) -> tuple[dict[str, Any], bytes]:
        """Run one task.

        Args:
            task: its name.
            arguments: JSON-able.
            body: what it works on.
            timeout_seconds: its time limit; None: `helper_timeout_seconds`.

        Raises:
            FitserveError: what the task raised.
            LimitExceeded: it took too long or too much memory, and its process was ended.
            Unavailable: no helper became free in time.
        """
        limit_seconds = timeout_seconds or self._settings.helper_timeout_seconds
        message = {"task": task, "arguments": dict(arguments)}
        deaths = 0
        # All that were idle may have died at once, which is no call's fault.
        for _ in range(self._settings.helpers + MOST_DEATHS):
            helper = await self._take()
            try:
                async with asyncio.timeout(limit_seconds):
                    await helper.channel.send(message, body)
                    answer = await helper.channel.receive()
            except EOFError:
                self._replace(helper, task)
                deaths += 1  # whether this call was to blame is told by another helper
                if deaths == MOST_DEATHS:
                    break
            except TimeoutError:
                self._replace(helper, task)
                raise LimitExceeded(
                    f"The request was ended after the {limit_seconds:g} s it may take."
                ) from None
            except OSError:  # Linux resets the socket of one that died before it had read the call
                self._replace(helper, task)
            except BaseException:
                self._replace(helper, task)
                raise
            else:
                self._put(helper)
                if "problem" in answer[0]:
                    raise _revived(answer[0]["problem"])
                return answer
        mebibytes = self._settings.helper_memory_bytes // MIB
        raise LimitExceeded(
            "The request ended its process again and again; most likely it needs more than "
            f"the {mebibytes} MiB it may take."
        )

    def _put(self, helper: Helper) -> None:
        self._free.append(helper)
        self._free_count.release()

    async def _take(self) -> Helper:
        """A free helper, which is alive."""
        try:
            async with asyncio.timeout(self._settings.helper_timeout_seconds):
                while True:
                    await self._free_count.acquire()
                    helper = self._free.pop()
                    if not helper.has_ended:
                        return helper
                    self._replace(helper)
        except TimeoutError:
            detail = "All helper processes are busy."
            raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS) from None

    def _replace(self, helper: Helper, task: str | None = None) -> None:
        log.warning("helper replaced", task=task, pid=helper.child.pid)
        self._end(helper)

    def _end(self, helper: Helper) -> None:
        """End a helper; whoever keeps it starts another."""
        self._all.discard(helper)
        helper.gone.set()
        # In a thread: a large process takes a while to be gone.
        asyncio.get_running_loop().run_in_executor(None, helper.child.kill)

    async def close(self) -> None:
        """End all helpers; they hold nothing that needs saving."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for helper in self._all:
            helper.child.kill()


def _revived(problem: Mapping[str, Any]) -> FitserveError:
    """The error a helper raised, from its JSON."""
    errors = [FieldError(**error) for error in problem["errors"]]
    return problem_types()[problem["slug"]](problem["detail"], errors, problem["retry_after_seconds"])
