"""Who waits for a job is told when something about it has changed."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from service.storage.changes import Changes

T = TypeVar("T")

# A change is dated when it is written and seen when it is committed: so much later at most.
LATE = timedelta(seconds=5)


class Watch:
    """Wakes waiting coroutines from any thread.

    A change made by a worker of this process is told at once. A sweep finds those made elsewhere by one
    question to the database, however many wait.

    Attributes:
        closed: whether nobody is to wait any longer.
    """

    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._waiting: dict[str | None, set[asyncio.Event]] = defaultdict(set)
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._swept: Changes | None = None

    @contextmanager
    def watching(self, job_id: str | None) -> Iterator[asyncio.Event]:
        """An event that is set at each change of a job; the waiter clears it before it looks.

        Args:
            job_id: the job; None: all of them.
        """
        event = asyncio.Event()
        with self._lock:
            self._waiting[job_id].add(event)
            self._loops[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[job_id].discard(event)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]
                del self._loops[event]

    @staticmethod
    async def wait(event: asyncio.Event, seconds: float) -> None:
        """Wait for the next change, so long at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    def changed(self, job_id: str) -> None:
        """Tell those who wait for this job."""
        with self._lock:
            self._set(self._waiting.get(job_id, set()) | self._waiting.get(None, set()))

    def sweep(self, changes_since: Callable[[datetime | None], Changes]) -> None:
        """Tell those whose job has changed since the last sweep; the first time, everyone.

        Args:
            changes_since: asks the database; not called while nobody waits.
        """
        if not self._loops:
            self._swept = None
            return
        before = self._swept
        self._swept = changes_since(None if before is None else before.until - LATE)
        if before is None:
            self._tell_everyone()
            return
        for job_id, version in self._swept.versions.items():
            if before.versions.get(job_id) != version:
                self.changed(job_id)

    def close(self) -> None:
        """Let nobody wait any longer."""
        self.closed = True
        self._tell_everyone()

    def _tell_everyone(self) -> None:
        with self._lock:
            self._set(set(self._loops))

    def _set(self, events: set[asyncio.Event]) -> None:
        for event in events:
            self._loops[event].call_soon_threadsafe(event.set)


class SharedReads:
    """Reads in threads, of which each is made once for all who ask for the same while it has not begun.

    One that has begun may not see what made somebody ask: it is not joined, but waited for.
    """

    def __init__(self) -> None:
        self._begun: dict[Hashable, asyncio.Task[Any]] = {}
        self._next: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` gives; the same to those who ask for this key before it begins."""
        task: asyncio.Task[T] | None = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._read(key, read, self._begun.get(key)))
        return await asyncio.shield(task)

    async def _read(self, key: Hashable, read: Callable[[], T], before: asyncio.Task[Any] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        self._begun[key] = self._next.pop(key)
        try:
            return await asyncio.to_thread(read)
        finally:
            del self._begun[key]
