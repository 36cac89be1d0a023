"""The ASGI application: creates all parts of the service and connects them."""

import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TypedDict

import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline
from ulid import ULID

from service import __version__
from service.api.docs.openapi import openapi_document
from service.api.http.bodies import Bodies
from service.api.http.problems import add_exception_handlers
from service.api.middleware.answer_headers import AnswerHeaders
from service.api.middleware.compression import Compression
from service.api.middleware.forwarded import Forwarded
from service.api.middleware.head import Head
from service.api.middleware.hosts import Hosts
from service.api.middleware.origins import Origins
from service.api.middleware.request_log import RequestLog
from service.api.readiness import Readiness
from service.api.routes import (
    datasets,
    docs,
    events,
    health,
    jobs,
    logs,
    parameter_sets,
    problems,
    results,
    system,
)
from service.api.state import CommitThreads, Services, Startup
from service.events.watch import Watch
from service.executors.local import worker_process as worker
from service.executors.local.executor import LocalExecutor
from service.helper import pool as helper
from service.helper.batching import Batching
from service.helper.pool import HelperPool
from service.maintenance import Housekeeper
from service.processes.starter import Starter, make_starter
from service.settings import Settings
from service.start_errors import StartFailed
from service.storage.changes import ChangeStore
from service.storage.database import Database
from service.storage.prepare import prepare_when_available
from service.storage.spool import Spool
from service.storage.storage import Storage

log = structlog.get_logger()

DESCRIPTION = "Train PyTorch models over HTTP: post a dataset and an architecture, get a trained model."

# Time for which the start waits for the database; after it, requests are answered with 503 until it is there.
DATABASE_WAIT_SECONDS = 5.0
# Time after the grace period in which workers that have not stopped are killed and their jobs released.
KILL_SECONDS = 3.0
# Lock timeout of the executor's SQLite connections: a frozen worker may hold the lock until the executor,
# which must not wait long for the same lock, kills it.
LOCK_TIMEOUT_SECONDS = 5.0
# Modules that child processes run; the fork server imports them once for all children.
CHILD_MODULES = (worker.MODULE, helper.MODULE)


class State(TypedDict):
    """State of the lifespan, which requests can access."""

    startup: Startup


class Shutdown:
    """Coordinates the shutdown of a service; it is requested while open requests are still being answered.

    Attributes:
        requested: Set once the service is stopping.
        watch: Ends long-polling requests and event streams when it is closed.
        failure: The error for which the service can't run, after which its server should exit.
    """

    def __init__(self, watch: Watch) -> None:
        self.requested = threading.Event()
        self.watch = watch
        self.failure: Exception | None = None
        self._requested_at = math.inf

    def request(self) -> None:
        """End long responses, and let workers release their jobs; further calls have no effect."""
        if not self.requested.is_set():
            self._requested_at = time.monotonic()
            self.watch.close()
            self.requested.set()

    def seconds_left(self, grace_seconds: float) -> float:
        """Return the rest of a grace period that started with the request."""
        return max(0.0, self._requested_at + grace_seconds - time.monotonic())


def create_app(settings: Settings, starter: Starter | None = None) -> FastAPI:
    """Create the service as an ASGI app, which runs workers and helpers during its lifespan.

    A server that stops should call `app.state.shutdown.request()` before it waits for open requests.

    Args:
        settings: The settings.
        starter: Starts child processes, and is closed at the end of the lifespan; by default a new one.
    """
    shutdown = Shutdown(Watch())
    app: FastAPI = FastAPIOffline(
        title="Fitserve",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lambda app: _lifespan(settings, shutdown, starter),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    nouns = (jobs, results, events, logs, datasets, parameter_sets, system, health, docs, problems)
    # Not by `include_router`, which would match each path twice; before the routes of the framework, whose
    # `/openapi.json` would build the document in the event loop.
    app.router.routes[:0] = [route for noun in nouns for route in noun.router.routes]
    # The last one is the outermost.
    app.add_middleware(Compression)
    app.add_middleware(Head)
    app.add_middleware(Origins, allowed=settings.allowed_origins)
    app.add_middleware(Forwarded, trusted_proxies=settings.trusted_proxies, root_path=settings.root_path)
    app.add_middleware(Hosts, allowed=settings.allowed_hosts)
    app.add_middleware(RequestLog, access_log=settings.access_log)
    app.add_middleware(AnswerHeaders)
    app.state.shutdown = shutdown
    add_exception_handlers(app)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app


def create_health_app(startup: Startup) -> FastAPI:
    """Create the app of a process without an API, which answers `/livez` and `/readyz`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        yield State(startup=startup)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.router.routes.extend(health.router.routes)
    app.add_middleware(Head)
    app.add_middleware(RequestLog, access_log=False)
    app.add_middleware(AnswerHeaders)
    add_exception_handlers(app)
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, shutdown: Shutdown, starter: Starter | None) -> AsyncIterator[State]:
    starter = starter or make_starter(settings, CHILD_MODULES)
    with closing(starter), Storage.open(settings) as storage, Spool(settings.spool()) as spool:
        startup, helpers = Startup(), HelperPool(settings, starter)
        # A daemon thread: if the database stops responding, it must not keep the process from exiting.
        target = partial(_run_services, settings, storage, spool, starter, helpers, startup, shutdown)
        thread = threading.Thread(target=target, name="services", daemon=True)
        thread.start()
        await run_in_threadpool(startup.complete.wait, DATABASE_WAIT_SECONDS)
        try:
            yield State(startup=startup)
        finally:
            shutdown.request()
            await helpers.close()
            seconds = shutdown.seconds_left(settings.shutdown_grace_seconds + KILL_SECONDS)
            await run_in_threadpool(thread.join, seconds)


def _run_services(
    settings: Settings,
    storage: Storage,
    spool: Spool,
    starter: Starter,
    helpers: HelperPool,
    startup: Startup,
    shutdown: Shutdown,
) -> None:
    """Prepare the storage once it is available, then run the services until the shutdown is requested."""
    try:
        if not prepare_when_available(storage, shutdown.requested, startup.wait):
            return
        executor = local_executor(settings, starter, shutdown.watch)
        housekeeper = Housekeeper(storage, settings.retention)
        startup.readiness = Readiness(
            storage,
            lambda: bool(storage.workers.alive(settings.heartbeat_seconds)),
            {"helpers": helpers.ping, "requests": spool.ping, "room": storage.room.check},
        )
        startup.finish(
            Services(
                settings=settings,
                storage=storage,
                bodies=Bodies(settings.max_body_bytes, settings.max_bodies_bytes, spool, storage.room),
                # Twice as many as helpers: one request is committed while its helper checks the next.
                commits=CommitThreads(2 * settings.helpers, settings.helper_timeout_seconds),
                spool=spool,
                executor=executor,
                helpers=helpers,
                batching=Batching(helpers),
                watch=shutdown.watch,
            )
        )
        shutdown.requested.wait()
        executor.close()
        housekeeper.close()
    except Exception as error:  # the process would look alive but run no jobs
        if not isinstance(error, StartFailed):
            log.exception("service failed")
        shutdown.failure = error
        startup.complete.set()


def local_executor(settings: Settings, starter: Starter, watch: Watch) -> LocalExecutor:
    """Create the executor of this machine; the names of its workers are unique to this process."""
    instance = str(ULID())  # clients see it in logs: without the name of the machine
    database = Database(settings.database(), settings.database_timeout_seconds, LOCK_TIMEOUT_SECONDS)
    changes = ChangeStore(database)
    return LocalExecutor(
        settings,
        instance,
        database,
        starter,
        on_change=watch.changed,
        on_scan=lambda: watch.scan(changes.since),
    )
