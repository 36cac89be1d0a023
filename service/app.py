"""The app: all wiring, nothing else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline
from ulid import ULID

from service import __version__
from service.api import datasets, events, jobs, problems, results, system
from service.api.openapi import openapi_document
from service.api.requests import Bodies, refuse_parameters
from service.api.state import HelperThreads, Services
from service.executors.helpers import HelperPool
from service.executors.local import LocalExecutor
from service.jobs.housekeeping import Housekeeper
from service.jobs.watch import Watch
from service.settings import Settings
from service.storage.migrate import migrate
from service.storage.spool import Spool
from service.storage.storage import Storage

DESCRIPTION = "Train PyTorch models over HTTP: post a dataset and an architecture, get a trained model."


class State(TypedDict):
    """What the lifespan hands to requests."""

    services: Services


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI app; its workers and helpers live as long as its lifespan.

    `app.state.watch` is closed by whoever ends the service: long answers end then.
    """
    watch = Watch()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        with Storage.open(settings) as storage, Spool(settings.spool()) as spool:
            await run_in_threadpool(migrate, storage.database)
            helpers = HelperPool(settings)
            executor = local_executor(settings, storage, watch)
            # A file may be read for minutes: where there are several helpers, one is left for the rest.
            bodies = Bodies(settings.max_body_bytes, settings.max_bodies_bytes)
            threads = HelperThreads(settings.helpers, settings.helper_timeout_seconds)
            slots = asyncio.Semaphore(max(1, settings.helpers - 1))
            housekeeper = Housekeeper(storage, settings.retention)
            try:
                yield State(
                    services=Services(
                        settings, storage, bodies, threads, spool, slots, executor, helpers, watch
                    )
                )
            finally:
                helpers.close()
                await run_in_threadpool(executor.close)
                await run_in_threadpool(housekeeper.close)

    app: FastAPI = FastAPIOffline(
        title="Fitserve",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(refuse_parameters)],
        redoc_url=None,
    )
    for noun in (jobs, results, events, datasets, system, problems):
        app.include_router(noun.router)
    app.state.watch = watch
    problems.install(app)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]
    return app


def local_executor(settings: Settings, storage: Storage, watch: Watch) -> LocalExecutor:
    """Workers on this machine, named after it and this start of it."""
    instance = f"{socket.gethostname()}-{ULID()}"
    return LocalExecutor(
        settings,
        instance,
        storage.queue,
        storage.recovery,
        storage.workers,
        on_change=watch.changed,
        on_sweep=lambda: watch.sweep(storage.changes.since),
    )
