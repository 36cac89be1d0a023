"""What the routes work with: made once by the app's lifespan, handed to each request."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from service import retry_after
from service.api.http.requests import Bodies
from service.errors import Unavailable
from service.events.watch import SharedReads, Watch
from service.executors.base import Executor
from service.helper.client import Helpers
from service.settings import Settings
from service.storage.spool import Spool
from service.storage.storage import Storage

# Keys, tenants and quotas come later; every record has an owner from the start.
OWNER = "default"

T = TypeVar("T")


class CommitThreads:
    """Threads for what may wait long for the database's lock, apart from those of light requests.

    Args:
        count: how many at a time.
        patience_seconds: a request that has waited in line for so long is sent away.
    """

    def __init__(self, count: int, patience_seconds: float) -> None:
        self._slots = asyncio.Semaphore(count)
        self._patience_seconds = patience_seconds

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """What a function gives that commits something.

        Raises:
            Unavailable: others did not get done in time.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._slots.acquire()
        except TimeoutError:
            detail = "Other requests wait for the database."
            raise Unavailable(detail, retry_after_seconds=retry_after.DATABASE_SECONDS) from None
        try:
            own = CapacityLimiter(1)  # what bounds the threads is the line
            return await to_thread.run_sync(partial(call, *arguments), limiter=own)
        finally:
            self._slots.release()


@dataclass(frozen=True)
class Services:
    """Everything behind the API.

    Attributes:
        bodies: JSON bodies, which are held in memory.
        commits: runs what commits a submit.
        spool: where bodies lie while they are received and read.
        upload_slots: how many more files may be read at this moment.
    """

    settings: Settings
    storage: Storage
    bodies: Bodies
    commits: CommitThreads
    spool: Spool
    upload_slots: asyncio.Semaphore
    executor: Executor
    helpers: Helpers
    watch: Watch
    reads: SharedReads = field(default_factory=SharedReads)


class Start:
    """The beginning of a service, which waits for its database.

    Attributes:
        begun: set once requests can be answered.
    """

    def __init__(self) -> None:
        self.begun = threading.Event()
        self._services: Services | None = None

    def begin(self, services: Services) -> None:
        """The tables are there."""
        self._services = services
        self.begun.set()

    def done(self) -> Services:
        """The services.

        Raises:
            Unavailable: while the database is awaited.
        """
        if self._services is None:
            raise Unavailable("The database is awaited.", retry_after_seconds=retry_after.DATABASE_SECONDS)
        return self._services


# Dependencies are coroutines: plain functions would each be sent through the thread pool.
async def _services(request: Request) -> Services:
    start: Start = request.state.start
    return start.done()


async def _owner() -> str:
    return OWNER


ServicesDependency = Annotated[Services, Depends(_services)]
Owner = Annotated[str, Depends(_owner)]
