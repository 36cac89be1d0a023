"""Wake the requests that wait for a job when it changes."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from service.storage.changes import Changes

T = TypeVar("T")

# Maximum time from writing a row, which dates the change, to the commit, which makes it visible.
MAX_COMMIT_DELAY = timedelta(seconds=5)


class Watch:
    """Wakes waiting coroutines, from any thread.

    Changes by this process wake them immediately. A periodic scan finds changes by other processes with a
    single query, independent of the number of waiters.

    Attributes:
        closed: Whether all waits must end.
    """

    def __init__(self) -> None:
        self.closed = False
        self._lock = threading.Lock()
        self._waiting: dict[str | None, set[asyncio.Event]] = defaultdict(set)
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._scanned: Changes | None = None

    @contextmanager
    def watching(self, job_id: str | None) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each change of a job; clear it before reading the job.

        Args:
            job_id: Id of the job; None for all jobs.
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
        """Wait for the next change or until the time expires."""
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    def changed(self, job_id: str) -> None:
        """Wake the coroutines that wait for a job."""
        with self._lock:
            self._set(self._waiting.get(job_id, set()) | self._waiting.get(None, set()))

    def scan(self, changes_since: Callable[[datetime | None], Changes]) -> None:
        """Wake the coroutines whose job has changed since the last scan; the first scan wakes all.

        Args:
            changes_since: Queries the database; not called while nothing waits.
        """
        if not self._loops:
            self._scanned = None
            return
        before = self._scanned
        self._scanned = changes_since(None if before is None else before.until - MAX_COMMIT_DELAY)
        if before is None:
            self._wake_all()
            return
        for job_id, version in self._scanned.versions.items():
            if before.versions.get(job_id) != version:
                self.changed(job_id)

    def close(self) -> None:
        """End all waits."""
        self.closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        with self._lock:
            self._set(set(self._loops))

    def _set(self, events: set[asyncio.Event]) -> None:
        for event in events:
            self._loops[event].call_soon_threadsafe(event.set)


class SharedReads:
    """Reads in threads, shared by all coroutines that request the same key before the read starts.

    A read that has started may miss the change that prompted a later request. That request waits for it,
    then starts a read of its own.
    """

    def __init__(self) -> None:
        self._started: dict[Hashable, asyncio.Task[Any]] = {}
        self._next: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return the result of `read`, shared with all requests for this key until it starts."""
        task: asyncio.Task[T] | None = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._read(key, read, self._started.get(key)))
        return await asyncio.shield(task)

    async def _read(self, key: Hashable, read: Callable[[], T], before: asyncio.Task[Any] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        self._started[key] = self._next.pop(key)
        try:
            return await asyncio.to_thread(read)
        finally:
            del self._started[key]
