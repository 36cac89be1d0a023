"""The service: index, state and catalog."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from service import __version__
from service.api.http import requests
from service.api.http.negotiation import JSON, AcceptedMediaType
from service.api.http.pages import HTML, page
from service.api.http.responses import TEXT, json_response, problems, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import system as schemas
from service.api.state import RootPath, Services, ServicesDependency
from service.errors import CatalogEntryNotFound
from service.helper.messages import GetCatalog, GetCatalogEntry, GetCatalogNames
from service.specs.names import CATALOG_KINDS, CatalogKind
from service.storage.workers import Worker

# A path with another kind does not exist: 404, not 422.
Kind = Annotated[str, Path(json_schema_extra={"enum": list(CATALOG_KINDS)})]

router = APIRouter(tags=["system"], route_class=DocumentedRoute)


_ENTRY_POINTS = {
    "jobs": "/v1/jobs",
    "datasets": "/v1/datasets",
    "parameters": "/v1/parameters",
    "catalog": "/v1/catalog",
    "system": "/v1/system",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "problems": "/problems",
    "livez": "/livez",
    "readyz": "/readyz",
}


@router.get("/", response_model=schemas.Index, responses={200: {"content": {HTML: TEXT}}})
async def index(media_type: AcceptedMediaType, root: RootPath) -> Response:
    """Get the entry points of the API; a page with links in a browser."""
    links = {name: root + path for name, path in _ENTRY_POINTS.items()}
    if media_type == JSON:
        return json_response({"name": "Fitserve", "version": __version__, "links": links})
    items = "".join(f'<li><a href="{path}">{name}</a></li>' for name, path in links.items())
    return page("Fitserve", f"<p>Version {__version__}. Start with the reference, docs.</p><ul>{items}</ul>")


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
    """Return a worker without the name of its machine and its process id, which only operators need."""
    return {
        "id": worker.id,
        "device": worker.device,
        "device_name": worker.device_name,
        "threads": worker.threads,
        "started_at": timestamp(worker.started_at),
        "heartbeat_at": timestamp(worker.heartbeat_at),
    }


class CatalogQuery(requests.Query):
    """Part of the catalog."""

    kind: CatalogKind | None = None
    """Only names of this kind."""
    name: str | None = None
    """Only this name, e.g. `Linear`."""


@router.get("/v1/catalog", response_model=schemas.Catalog, responses=problems(CatalogEntryNotFound))
async def get_catalog(services: ServicesDependency, query: Annotated[CatalogQuery, Query()]) -> Response:
    """List layers, losses, optimizers, schedulers, metrics and transforms, with JSON Schemas of arguments.

    The whole catalog has 160 kB; `kind` and `name` select a part of it.
    """
    _, body = await services.helpers.call(GetCatalog(query.kind, query.name))
    return json_response(body)


@router.get(
    "/v1/catalog/{kind}", response_model=schemas.CatalogNames, responses=problems(CatalogEntryNotFound)
)
async def list_catalog_names(services: ServicesDependency, kind: Kind) -> Response:
    """List the names of a kind, such as `layers`, with one sentence about each."""
    _, body = await services.helpers.call(GetCatalogNames(kind))
    return json_response(body)


@router.get(
    "/v1/catalog/{kind}/{name}",
    response_model=schemas.CatalogEntry,
    responses=problems(CatalogEntryNotFound),
)
async def get_catalog_entry(services: ServicesDependency, kind: Kind, name: str) -> Response:
    """Get the arguments of a layer, loss, optimizer, and so on, as JSON Schema."""
    _, body = await services.helpers.call(GetCatalogEntry(kind, name))
    return json_response(body)
