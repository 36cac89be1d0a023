"""The service: index, state and catalog."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from service import __version__
from service.api.http.responses import json_response, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import system as schemas
from service.api.state import Services, ServicesDependency
from service.helper.messages import GetCatalog
from service.storage.workers import Worker

router = APIRouter(tags=["system"], route_class=DocumentedRoute)


@router.get("/", response_model=schemas.Index)
def index() -> Response:
    """Get the entry points of the API."""
    links = {
        "jobs": "/v1/jobs",
        "datasets": "/v1/datasets",
        "catalog": "/v1/catalog",
        "system": "/v1/system",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "problems": "/problems",
        "livez": "/livez",
        "readyz": "/readyz",
    }
    return json_response({"name": "Fitserve", "version": __version__, "links": links})


def live_workers(services: Services) -> list[Worker]:
    """Return the live workers of all service processes."""
    return list(services.storage.workers.alive(services.settings.heartbeat_seconds))


@router.get("/v1/system", response_model=schemas.System)
def get_system(services: ServicesDependency) -> Response:
    """Get the version, devices, workers and queue lengths of the service."""
    workers = live_workers(services)
    lengths = services.storage.queue.lengths()
    return json_response(
        {
            "version": __version__,
            "devices": sorted({worker.device for worker in workers}),
            "workers": [_worker(worker) for worker in workers],
            "queue_length": sum(lengths.values()),
            "queue_lengths": lengths,
            "max_queue_length": services.settings.max_queue_length,
        }
    )


def _worker(worker: Worker) -> dict[str, Any]:
    times = {"started_at": timestamp(worker.started_at), "heartbeat_at": timestamp(worker.heartbeat_at)}
    return {**asdict(worker), **times}


@router.get("/v1/catalog", response_model=dict[str, Any])
async def get_catalog(services: ServicesDependency) -> Response:
    """List layers, losses, optimizers, schedulers, metrics and transforms, with JSON Schemas of arguments."""
    _, body = await services.helpers.call(GetCatalog())
    return json_response(body)
