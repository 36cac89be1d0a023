"""Job logs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from service.api.http.headers import headers
from service.api.http.lists import next_link
from service.api.http.negotiation import CSV, AcceptedMediaType
from service.api.http.page_tokens import page_token, position_of
from service.api.http.requests import LARGEST
from service.api.http.responses import TEXT, json_response, problems, timestamp
from service.api.http.route import DocumentedRoute
from service.api.http.tables import TableQuery, records_response
from service.api.schemas import logs as schemas
from service.api.state import Owner, ServicesDependency
from service.errors import InvalidRequest, JobNotFound

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"], route_class=DocumentedRoute)


class LogsQuery(TableQuery):
    """Page of a log."""

    page_size: Annotated[int, Field(ge=1, le=1000)] = 100
    """Maximum number of lines on the page."""
    page_token: str | None = None
    """The `next_page_token` of the previous page."""


@router.get(
    "/logs",
    response_model=schemas.LogPage,
    responses={200: {"content": {CSV: TEXT}, **headers("Link")}, **problems(JobNotFound, InvalidRequest)},
)
def list_log_lines(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[LogsQuery, Query()],
) -> Response:
    """List the entries of a job's log, oldest first.

    The log has claims, checkpoints, requests by the owner, lost workers, warnings and the outcome.
    """
    collection = f"log of {job_id}"
    after = position_of(collection, query.page_token, _line_number) if query.page_token else 0
    lines = services.storage.logs.of_job(owner, job_id, query.page_size + 1, after)
    page, more = lines[: query.page_size], len(lines) > query.page_size
    items = [
        {"at": timestamp(line.at), "level": line.level, "attempt": line.attempt, "message": line.message}
        for line in page
    ]
    token = page_token(collection, str(page[-1].number)) if more else None
    link = next_link(request, token)
    if media_type == CSV:
        return records_response(items, query, link)
    return json_response({"items": items, "next_page_token": token}, headers=link)


def _line_number(position: str) -> int:
    if (number := int(position)) > LARGEST:
        raise OverflowError
    return number
