"""Health: whether the process responds, and whether it can accept requests."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.http import requests
from service.api.http.responses import json_response
from service.api.http.route import DocumentedRoute
from service.api.readiness import OK
from service.api.schemas import system as schemas
from service.api.state import Startup

router = APIRouter(tags=["system"], route_class=DocumentedRoute)


class ReadyQuery(requests.Query):
    """Selection of the checks."""

    workers: bool = False
    """Also check that a worker is alive, which trains jobs."""


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
def readyz(request: Request, query: Annotated[ReadyQuery, Query()]) -> Response:
    """Check that requests can be accepted; with `workers=true`, also that jobs can run.

    The database and the artifacts are written and read, at most once in 5 seconds; the space for request
    bodies and the helper processes are checked.
    """
    startup: Startup = request.state.startup
    checks = startup.checks(workers=query.workers)
    is_ready = all(result == OK for result in checks.values())
    return json_response(
        {"status": "ok" if is_ready else "unavailable", "checks": checks}, 200 if is_ready else 503
    )
