"""The service: index, health, state and catalog."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from service import __version__
from service.api.http.responses import json_response, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import system as schemas
from service.api.state import Services, ServicesDependency, Startup
from service.errors import Unavailable
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


@router.get("/livez", response_model=schemas.Health)
async def livez() -> Response:
    """Check that the process responds.

    The check accesses no dependency and waits for no thread.
    """
    return json_response({"status": "ok", "checks": {}})


@router.get(
    "/readyz",
    response_model=schemas.Health,
    responses={
        503: {"model": schemas.Health, "description": "A dependency is unavailable; `checks` names it."}
    },
)
def readyz(request: Request) -> Response:
    """Check that jobs can be accepted and run.

    The check covers the database, artifacts, warm helper processes and live workers.
    """
    startup: Startup = request.state.startup
    try:
        services = startup.services()
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
    """Check database and workers with one query, so that an unresponsive database is waited for once."""
    try:
        workers = live_workers(services)
    except Unavailable as error:
        return {"database": error.detail, "workers": "Unknown without the database."}
    return {"database": "ok", "workers": "ok" if workers else "No worker is alive."}


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
