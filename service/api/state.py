"""What the routes work with: made once by the app's lifespan, handed to each request."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from service.jobs.executor import Executor, Helpers
from service.jobs.watch import SharedReads, Watch
from service.settings import Settings
from service.storage.spool import Spool
from service.storage.storage import Storage

# Keys, tenants and quotas come later; every record has an owner from the start.
OWNER = "default"


@dataclass(frozen=True)
class Services:
    """Everything behind the API.

    Attributes:
        spool: where bodies lie while they are received and read.
        upload_slots: how many more files may be read at this moment.
    """

    settings: Settings
    storage: Storage
    spool: Spool
    upload_slots: asyncio.Semaphore
    executor: Executor
    helpers: Helpers
    watch: Watch
    reads: SharedReads = field(default_factory=SharedReads)


# Dependencies are coroutines: plain functions would each be sent through the thread pool.
async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


async def _owner() -> str:
    return OWNER


ServicesDependency = Annotated[Services, Depends(_services)]
Owner = Annotated[str, Depends(_owner)]
