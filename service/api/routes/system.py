"""The service itself: index, health, system, catalog."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from service import __version__
from service.api.http.responses import json_response, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import system as schemas
from service.api.state import Services, ServicesDependency, Start
from service.errors import Unavailable
from service.helper.messages import GetCatalog
from service.storage.workers import Worker

router = APIRouter(tags=["system"], route_class=DocumentedRoute)


@router.get("/", response_model=schemas.Index)
def index() -> Response:
    """Where to go from here."""
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


@router.get("/livez", response_model=schemas.Health)
async def livez() -> Response:
    """Whether the process answers; asks nothing else, and waits for no thread."""
    return json_response({"status": "ok", "checks": {}})


@router.get(
    "/readyz",
    response_model=schemas.Health,
    responses={503: {"model": schemas.Health, "description": "Something is away; `checks` says what."}},
)
def readyz(request: Request) -> Response:
    """Whether jobs can be taken and run: database, artifacts, warm helpers, a live worker."""
    start: Start = request.state.start
    try:
        services = start.done()
    except Unavailable as error:
        return json_response({"status": "unavailable", "checks": {"database": error.detail}}, 503)
    checks = {
        **_check_workers(services),
        "artifacts": _check(services.storage.artifacts.ping),
        "helpers": _check(services.helpers.ping),
    }
    ready = all(result == "ok" for result in checks.values())
    return json_response(
        {"status": "ok" if ready else "unavailable", "checks": checks}, 200 if ready else 503
    )


def _check(check: Callable[[], None]) -> str:
    try:
        check()
    except Unavailable as error:
        return error.detail
    return "ok"


def _check_workers(services: Services) -> dict[str, str]:
    """The database, by the question for the workers: one that is silent is waited for once."""
    try:
        workers = live_workers(services)
    except Unavailable as error:
        return {"database": error.detail, "workers": "Not known without the database."}
    return {"database": "ok", "workers": "ok" if workers else "No worker is alive."}


def live_workers(services: Services) -> list[Worker]:
    """The workers of all service processes that have been heard of lately."""
    return list(services.storage.workers.alive(services.settings.heartbeat_seconds))


@router.get("/v1/system", response_model=schemas.System)
def get_system(services: ServicesDependency) -> Response:
    """Version, devices, workers, length of the queue."""
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
    """Every layer, loss, optimizer, scheduler, metric and transform, with its arguments as JSON Schema."""
    _, body = await services.helpers.call(GetCatalog())
    return json_response(body)
