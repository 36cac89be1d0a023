"""The app: all wiring, nothing else."""

import asyncio
import math
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TypedDict

import structlog
from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline
from ulid import ULID

from service import __version__
from service.api.docs.openapi import openapi_document
from service.api.http.problems import add_exception_handlers
from service.api.http.requests import Bodies, refuse_parameters
from service.api.routes import datasets, events, jobs, logs, problems, results, system
from service.api.state import CommitThreads, Services, Startup
from service.events.watch import Watch
from service.executors.local import worker_process as worker
from service.executors.local.executor import LocalExecutor
from service.helper import pool as helper
from service.helper.pool import HelperPool
from service.maintenance import Housekeeper
from service.processes.starter import Starter, make_starter
from service.settings import Settings
from service.storage.changes import ChangeStore
from service.storage.database import Database
from service.storage.migrate import migrate_when_available
from service.storage.spool import Spool
from service.storage.storage import Storage

log = structlog.get_logger()

DESCRIPTION = "Train PyTorch models over HTTP: post a dataset and an architecture, get a trained model."


# A start waits so long for the database before the service answers without it.
PATIENCE_SECONDS = 5.0
# Beyond the grace time, for workers that don't end by themselves.
END_SECONDS = 3.0
# A frozen worker may hold the lock of SQLite until whoever looks after it has ended it.
SUPERVISION_SECONDS = 5.0


class State(TypedDict):
    """What the lifespan hands to requests."""

    startup: Startup


class Stop:
    """The end of a service: told at the first signal, while requests that are open may still be answered.

    Attributes:
        told: set then.
        watch: closed then.
    """

    def __init__(self, watch: Watch) -> None:
        self.told = threading.Event()
        self.watch = watch
        self._since = math.inf

    def tell(self) -> None:
        """Long answers end, and workers give their jobs back."""
        if not self.told.is_set():
            self._since = time.monotonic()
            self.watch.close()
            self.told.set()

    def seconds_left(self, grace_seconds: float) -> float:
        """What is left of the grace time."""
        return max(0.0, self._since + grace_seconds - time.monotonic())


# What children run; a fork server imports it.
CHILDREN = (worker.MODULE, helper.MODULE)


def create_app(settings: Settings, starter: Starter | None = None) -> FastAPI:
    """Create the service as an ASGI app; its workers and helpers live as long as its lifespan.

    Call `app.state.stop.tell()` before the service is ended.

    Args:
        settings: The settings.
        starter: Starts child processes; by default one that is made, and closed, in the lifespan.
    """
    stop = Stop(Watch())
    app: FastAPI = FastAPIOffline(
        title="Fitserve",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lambda app: _lifespan(settings, stop, starter),
        dependencies=[Depends(refuse_parameters)],
        redoc_url=None,
    )
    for noun in (jobs, results, events, logs, datasets, system, problems):
        app.include_router(noun.router)
    app.state.stop = stop
    add_exception_handlers(app)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, stop: Stop, starter: Starter | None) -> AsyncIterator[State]:
    starter = starter or make_starter(settings, CHILDREN)
    with closing(starter), Storage.open(settings) as storage, Spool(settings.spool()) as spool:
        startup, helpers = Startup(), HelperPool(settings, starter)
        # A thread of its own, that keeps nobody from ending: the database may fall silent.
        work = partial(_work, settings, storage, spool, starter, helpers, startup, stop)
        working = threading.Thread(target=work, name="work", daemon=True)
        working.start()
        await run_in_threadpool(startup.complete.wait, PATIENCE_SECONDS)
        try:
            yield State(startup=startup)
        finally:
            stop.tell()
            await helpers.close()
            seconds = stop.seconds_left(settings.shutdown_grace_seconds + END_SECONDS)
            await run_in_threadpool(working.join, seconds)


def _work(
    settings: Settings,
    storage: Storage,
    spool: Spool,
    starter: Starter,
    helpers: HelperPool,
    startup: Startup,
    stop: Stop,
) -> None:
    """Run workers from when the tables are there until the service stops."""
    try:
        if not migrate_when_available(storage.database, stop.told):
            return
        executor = local_executor(settings, starter, stop.watch)
        housekeeper = Housekeeper(storage, settings.retention)
        startup.finish(
            Services(
                settings=settings,
                storage=storage,
                bodies=Bodies(settings.max_body_bytes, settings.max_bodies_bytes),
                # What helpers have checked is committed while they check what follows.
                commits=CommitThreads(2 * settings.helpers, settings.helper_timeout_seconds),
                spool=spool,
                # A file may be read for minutes: of several helpers, one is left for the rest.
                upload_slots=asyncio.Semaphore(max(1, settings.helpers - 1)),
                executor=executor,
                helpers=helpers,
                watch=stop.watch,
            )
        )
        stop.told.wait()
        executor.close()
        housekeeper.close()
    except Exception:  # a service that can't work is not to look alive
        log.exception("the service can't work")
        signal.raise_signal(signal.SIGTERM)


def local_executor(settings: Settings, starter: Starter, watch: Watch) -> LocalExecutor:
    """Workers on this machine, named after it and this start of it."""
    instance = f"{socket.gethostname()}-{ULID()}"
    database = Database(settings.database(), busy_seconds=SUPERVISION_SECONDS)
    changes = ChangeStore(database)
    return LocalExecutor(
        settings,
        instance,
        database,
        starter,
        on_change=watch.changed,
        on_sweep=lambda: watch.scan(changes.since),
    )
