"""Dependencies of the routes, created by the app's lifespan."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from service import retry_after
from service.api.http.bodies import Bodies
from service.api.readiness import Readiness
from service.errors import Unavailable
from service.events.watch import SharedReads, Watch
from service.executors.base import Executor
from service.helper.batching import Batching
from service.helper.client import NOBODY, Caller, Helpers
from service.helper.request import Request as HelperRequest
from service.processes.channel import BodyInFile
from service.settings import Settings
from service.storage.prepare import part_of, why
from service.storage.spool import Spool
from service.storage.storage import Storage

# The only owner until keys are supported; every record has an owner already.
OWNER = "default"

A = TypeVar("A")
T = TypeVar("T")


class CommitThreads:
    """Threads for commits, which may wait long for the database lock, apart from those of other requests.

    Args:
        count: Maximum number of concurrent threads.
        patience_seconds: Time after which a request that waits for a thread is refused.
    """

    def __init__(self, count: int, patience_seconds: float) -> None:
        self._slots = asyncio.Semaphore(count)
        self._patience_seconds = patience_seconds

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run a function that commits; return its result.

        Raises:
            Unavailable: If no thread became free in time.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._slots.acquire()
        except TimeoutError:
            detail = "Other requests are waiting for the database."
            raise Unavailable(detail, retry_after_seconds=retry_after.DATABASE_SECONDS) from None
        try:
            limiter = CapacityLimiter(1)  # the semaphore bounds the threads already
            return await to_thread.run_sync(partial(call, *arguments), limiter=limiter)
        finally:
            self._slots.release()


@dataclass(frozen=True)
class Services:
    """Services that the routes use.

    Attributes:
        bodies: JSON bodies, which are held in memory.
        commits: Threads that commit submissions.
        spool: Temporary folders of request bodies.
        helpers: The helpers; in a dependency of a route, those of its client.
        batching: Calls of the helpers for small predictions.
    """

    settings: Settings
    storage: Storage
    bodies: Bodies
    commits: CommitThreads
    spool: Spool
    executor: Executor
    helpers: Helpers
    batching: Batching
    watch: Watch
    reads: SharedReads = field(default_factory=SharedReads)


class Startup:
    """Startup of the service, which waits for its database and artifacts.

    Attributes:
        complete: Set once requests can be served.
        readiness: The checks of `/readyz`; None while the service waits.
        awaited: The failing check while it waits.
    """

    def __init__(self) -> None:
        self.complete = threading.Event()
        self.readiness: Readiness | None = None
        self.awaited = {"database": "The service is starting."}
        self._services: Services | None = None

    def wait(self, error: Unavailable) -> None:
        """Set what the service waits for."""
        self.awaited = {part_of(error): why(error)}

    def checks(self, *, workers: bool) -> Mapping[str, str]:
        """Return the checks of `/readyz`; see `Readiness.checks`."""
        return self.awaited if self.readiness is None else self.readiness.checks(workers=workers)

    def finish(self, services: Services) -> None:
        """Make the services available to requests."""
        self._services = services
        self.complete.set()

    def services(self) -> Services:
        """Return the services.

        Raises:
            Unavailable: While the database is unavailable.
        """
        if self._services is None:
            raise Unavailable(
                "The service is waiting for the database.", retry_after_seconds=retry_after.DATABASE_SECONDS
            )
        return self._services


class ClientHelpers:
    """Helpers for the client of a request.

    Args:
        helpers: The helpers of all clients.
        request: The request.
    """

    def __init__(self, helpers: Helpers, request: Request) -> None:
        self._helpers = helpers
        self._request = request
        self._client = Caller(request.client.host if request.client else "", self._check_connection)
        self.ping = helpers.ping

    async def _check_connection(self) -> None:
        if await self._request.is_disconnected():
            raise ClientDisconnect

    async def call(
        self,
        request: HelperRequest[A],
        body: bytes | BodyInFile = b"",
        timeout_seconds: float | None = None,
        caller: Caller = NOBODY,
    ) -> tuple[A, memoryview]:
        """Run one task for the client; see `Helpers.call`.

        Raises:
            ClientDisconnect: The client is gone before a helper is free.
        """
        return await self._helpers.call(request, body, timeout_seconds, self._client)


# Coroutines, because FastAPI runs plain functions in the thread pool.
async def _services(request: Request) -> Services:
    startup: Startup = request.state.startup
    services = startup.services()
    return replace(services, helpers=ClientHelpers(services.helpers, request))


async def _owner() -> str:
    return OWNER


async def _root_path(request: Request) -> str:
    return str(request.scope["root_path"])


ServicesDependency = Annotated[Services, Depends(_services)]
Owner = Annotated[str, Depends(_owner)]
RootPath = Annotated[str, Depends(_root_path)]
"""Prefix of the paths of the service, as clients see them; empty without a reverse proxy."""
