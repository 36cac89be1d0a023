"""Datasets: upload, list, read, delete."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from service.api.http import requests, uploads
from service.api.http.responses import file_body, json_response, problems, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import datasets as schemas
from service.api.state import Owner, Services, ServicesDependency
from service.errors import (
    BadRequest,
    ContentTooLarge,
    DatasetInUse,
    DatasetNotFound,
    InvalidRequest,
    LimitExceeded,
    UnsupportedMediaType,
)
from service.helper.messages import GetRows, ReadDataset
from service.specs.base import Name
from service.specs.data import DatasetContent
from service.storage.datasets import Dataset, NewDataset
from service.storage.pages import Place

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=DocumentedRoute)


class DatasetQuery(uploads.ReadQuery):
    """How to read a file, and what to call the dataset."""

    name: Name | None = None
    """The dataset's name; a `name` in a JSON body comes before it."""


class PageQuery(requests.Query):
    """Which page of the list."""

    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """Datasets on a page."""
    page_token: str | None = None
    """The `next_page_token` of the page before."""


class RowsQuery(requests.Query):
    """Which rows."""

    offset: requests.Offset = 0
    """Rows to pass over."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Rows to give, at most."""


@router.post(
    "",
    status_code=201,
    response_model=schemas.Dataset,
    openapi_extra=file_body(DatasetContent),
    responses={
        201: {"description": "The dataset is stored."},
        200: {"model": schemas.Dataset, "description": "Equal content is there already: that dataset."},
        **problems(BadRequest, ContentTooLarge, UnsupportedMediaType, InvalidRequest, LimitExceeded),
    },
)
async def upload_dataset(
    request: Request, services: ServicesDependency, owner: Owner, query: Annotated[DatasetQuery, Query()]
) -> Response:
    """Upload a dataset: a CSV, Parquet, Arrow IPC, `.npz` or `.safetensors` file, or JSON.

    The file is the body (`curl --data-binary @file`) or a part `file` of a multipart body
    (`curl -F file=@file`), and may be packed with gzip or Zstandard. What Content-Type doesn't say is told by
    the content. Arrays of a `.npz` or `.safetensors` file are called `inputs`, or `inputs.<name>` of several,
    and `targets`. JSON has `columns`, `rows`, or `inputs` and `targets`. A table has at most 10,000 columns.
    """
    async with uploads.receive(request, services, query) as (upload, said):
        stored, _ = await uploads.call(services, ReadDataset(owner, said.name, upload))
        is_gone = await request.is_disconnected()
        return await run_in_threadpool(_publish, services, owner, stored.dataset, is_gone)


def _publish(services: Services, owner: str, new: NewDataset | str, is_gone: bool) -> Response:
    """The dataset that was written, or the one of equal content that is there already.

    Nothing is published for a client that is gone: it doesn't know the dataset, and may have given it up.
    """
    if isinstance(new, str):
        dataset, created = services.storage.datasets.keep(owner, new), False
    else:
        if is_gone:
            services.storage.artifacts.discard([new.artifact])
            raise BadRequest("The client was gone before its dataset was read.")
        dataset, created = services.storage.datasets.add(owner, new)
        if not created:
            services.storage.artifacts.discard([new.artifact])  # equal content came in between
    headers = {"Location": f"/v1/datasets/{dataset.id}"}
    return json_response(_document(dataset), 201 if created else 200, headers)


@router.get("", response_model=schemas.DatasetPage, responses=problems(InvalidRequest))
def list_datasets(
    services: ServicesDependency, owner: Owner, query: Annotated[PageQuery, Query()]
) -> Response:
    """List datasets, the newest first."""
    before = Place.of_token(query.page_token) if query.page_token else None
    datasets = services.storage.datasets.list(owner, query.page_size + 1, before)
    page, more = datasets[: query.page_size], len(datasets) > query.page_size
    return json_response(
        {
            "items": [_document(dataset) for dataset in page],
            "next_page_token": page[-1].place.token() if more else None,
        }
    )


@router.get("/{dataset_id}", response_model=schemas.Dataset, responses=problems(DatasetNotFound))
def get_dataset(services: ServicesDependency, owner: Owner, dataset_id: str) -> Response:
    """Read what a dataset holds: its columns with their statistics, and warnings."""
    return json_response(_document(services.storage.datasets.get(owner, dataset_id)))


@router.get(
    "/{dataset_id}/rows", response_model=schemas.Rows, responses=problems(DatasetNotFound, InvalidRequest)
)
async def get_rows(
    services: ServicesDependency, owner: Owner, dataset_id: str, query: Annotated[RowsQuery, Query()]
) -> Response:
    """Read rows of a dataset, in order."""
    _, body = await services.helpers.call(GetRows(owner, dataset_id, query.offset, query.limit))
    return json_response(body)


@router.delete("/{dataset_id}", status_code=204, responses=problems(DatasetNotFound, DatasetInUse))
def delete_dataset(services: ServicesDependency, owner: Owner, dataset_id: str) -> Response:
    """Delete a dataset; 409 while a job that has not ended uses it."""
    services.storage.artifacts.discard([services.storage.datasets.delete(owner, dataset_id)])
    return Response(status_code=204)


def _document(dataset: Dataset) -> dict[str, Any]:
    here = f"/v1/datasets/{dataset.id}"
    return {
        "id": dataset.id,
        "name": dataset.name,
        "kind": dataset.kind,
        "rows": dataset.rows,
        "bytes": dataset.bytes,
        **orjson.loads(dataset.report),
        "created_at": timestamp(dataset.created_at),
        "inline": dataset.inline,
        "links": {"self": here, "rows": f"{here}/rows"},
    }
