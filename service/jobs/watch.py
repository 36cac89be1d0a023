"""Who waits for a job is told when something about it has changed."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Watch:
    """Wakes waiting coroutines from any thread.

    A change made by a worker of this process is told at once; one made elsewhere is found by the sweep,
    which wakes everyone to look for themselves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    @contextmanager
    def watching(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change; the waiter clears it before it looks."""
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
        """Wait for the next change, or until the time is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)

    def changed(self, job_id: str) -> None:
        """Tell those who wait for this job."""
        with self._lock:
            self._set(self._waiting.get(job_id, set()))

    def sweep(self) -> None:
        """Tell everyone who waits."""
        with self._lock:
            self._set(set(self._loops))

    def _set(self, events: set[asyncio.Event]) -> None:
        for event in events:
            self._loops[event].call_soon_threadsafe(event.set)
