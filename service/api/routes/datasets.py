"""Datasets: upload, list, read, delete."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, field_validator

from service.api.http import requests, uploads
from service.api.http.headers import DATASET_LINKS, headers
from service.api.http.responses import BINARY, json_response, problems, streamed, timestamp, upload_body
from service.api.http.route import DocumentedRoute
from service.api.schemas import datasets as schemas
from service.api.state import Owner, Services, ServicesDependency
from service.errors import (
    BadRequest,
    ContentTooLarge,
    DatasetInUse,
    DatasetNotFound,
    FieldError,
    InvalidRequest,
    LimitExceeded,
    StorageFull,
    UnsupportedMediaType,
)
from service.helper.messages import DatasetStored, DownloadDataset, GetRows, ReadDataset
from service.specs.base import Name
from service.specs.data import DatasetContent
from service.specs.upload import DownloadFormat, upload_digest
from service.storage.datasets import Dataset
from service.storage.pages import Cursor

_MEDIA_TYPES: Mapping[DownloadFormat, str] = {
    "csv": requests.CSV,
    "parquet": "application/vnd.apache.parquet",
    "npz": "application/x-npz",
}

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=DocumentedRoute)


class DatasetQuery(uploads.ReadQuery):
    """Options for reading a file, and the name of the dataset."""

    name: Name | None = None
    """Name of the dataset; a `name` in a JSON body takes precedence."""


class PageQuery(uploads.ReadQuery):
    """Page of a list, or an upload to find."""

    digest: str | None = None
    """Only the dataset that was uploaded as these bytes: `sha-256:` and the SHA-256 of the file as it was \
sent (`sha256sum file`). An upload with reading options is found by the same options."""

    @field_validator("digest")
    @classmethod
    def _is_sha256(cls, value: str) -> str:
        if not re.fullmatch(r"sha-256:[0-9a-f]{64}", value):
            raise ValueError("Use `sha-256:` and the 64 hexadecimal digits that `sha256sum` prints.")
        return value

    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """Maximum number of datasets on the page."""
    page_token: str | None = None
    """The `next_page_token` of the previous page."""


class ContentQuery(requests.Query):
    """Format of a file."""

    format: DownloadFormat | None = None
    """`csv` or `parquet` for a table, `npz` for tensors. Default: `csv` or `npz`."""
    formulas: requests.Formulas = "escape"
    """For CSV: `escape` writes an apostrophe before text that a spreadsheet would run as a formula, which \
begins with `=`, `+`, `-`, `@`, a tab or a carriage return; `keep` leaves it as it is."""


class RowsQuery(requests.Query):
    """Range of rows."""

    offset: requests.Offset = 0
    """Number of rows to skip."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Maximum number of rows to return."""


@router.post(
    "",
    status_code=201,
    response_model=schemas.Dataset,
    openapi_extra=upload_body(DatasetContent),
    responses={
        201: {"description": "The dataset is stored.", **headers("Location"), **DATASET_LINKS},
        200: {
            "model": schemas.Dataset,
            "description": "A dataset of equal content exists and is returned.",
            **headers("Location"),
            **DATASET_LINKS,
        },
        **problems(BadRequest, ContentTooLarge, UnsupportedMediaType, InvalidRequest, LimitExceeded),
        **problems(StorageFull),
    },
)
async def upload_dataset(
    request: Request, services: ServicesDependency, owner: Owner, query: Annotated[DatasetQuery, Query()]
) -> Response:
    """Upload a dataset: a CSV, Parquet, Arrow IPC, `.npz` or `.safetensors` file, or JSON.

    The file is either the body (`curl --data-binary @file`) or the part `file` of a multipart body
    (`curl -F file=@file`), optionally compressed with gzip or Zstandard. Its format is detected from the
    content unless Content-Type names it. Arrays of a `.npz` or `.safetensors` file must be named `targets`
    and `inputs`, or `inputs.<name>` for several inputs. JSON has `columns`, `rows`, `dataframe_split`, or
    `inputs` with `targets`; or it is a list of rows, `[{"x": 1}, …]`, or JSON Lines. A table has at most
    10,000 columns.
    """
    await run_in_threadpool(services.storage.room.check, requests.declared_bytes(request))
    async with uploads.receive(request, services, query) as (upload, said):
        stored, _ = await uploads.call(services, ReadDataset(owner, said.name, upload))
        is_gone = await request.is_disconnected()
        return await run_in_threadpool(_publish, services, owner, stored, is_gone)


def _publish(services: Services, owner: str, stored: DatasetStored, is_gone: bool) -> Response:
    """Publish the dataset that was written, or return the existing one of equal content.

    Nothing is published for a client that has disconnected: it can't know the dataset's id.
    """
    new, digest = stored.dataset, stored.upload_digest
    if isinstance(new, str):
        dataset, created = services.storage.datasets.keep(owner, new, digest), False
    else:
        if is_gone:
            services.storage.artifacts.discard([new.artifact])
            raise BadRequest("The client disconnected before its dataset was read.")
        try:
            dataset, created = services.storage.datasets.add(owner, new, digest)
        except StorageFull:  # other datasets took the room since it was checked
            services.storage.artifacts.discard([new.artifact])
            raise
        if not created:
            services.storage.artifacts.discard([new.artifact])  # equal content was published concurrently
    headers = {"Location": f"/v1/datasets/{dataset.id}"}
    document = _document(dataset)
    # A dataset of equal content may have been read from another file.
    document["warnings"] = [*dict.fromkeys([*stored.warnings, *document["warnings"]])]
    return json_response(document, 201 if created else 200, headers)


@router.get("", response_model=schemas.DatasetPage, responses=problems(InvalidRequest))
def list_datasets(
    services: ServicesDependency, owner: Owner, query: Annotated[PageQuery, Query()]
) -> Response:
    """List datasets, newest first; with `digest`, find the one that was uploaded as certain bytes."""
    options = query.options()
    if query.digest is None and options.model_fields_set:
        detail = "This option belongs to an upload; give its `digest`, too."
        raise InvalidRequest(
            errors=[FieldError(f"?{option}", detail) for option in sorted(options.model_fields_set)]
        )
    digest = query.digest and upload_digest(query.digest.removeprefix("sha-256:"), options)
    before = Cursor.of_token(query.page_token) if query.page_token else None
    datasets = services.storage.datasets.list(owner, query.page_size + 1, before, digest)
    page, more = datasets[: query.page_size], len(datasets) > query.page_size
    return json_response(
        {
            "items": [_document(dataset) for dataset in page],
            "next_page_token": page[-1].cursor.token() if more else None,
        }
    )


@router.get("/{dataset_id}", response_model=schemas.Dataset, responses=problems(DatasetNotFound))
def get_dataset(services: ServicesDependency, owner: Owner, dataset_id: str) -> Response:
    """Get a dataset: its columns with their statistics, and warnings."""
    return json_response(_document(services.storage.datasets.get(owner, dataset_id)))


@router.get(
    "/{dataset_id}/content",
    response_class=Response,
    responses={
        200: {
            "content": dict.fromkeys(_MEDIA_TYPES.values(), BINARY),
            "description": "The file.",
            **headers("Content-Disposition"),
        },
        **problems(DatasetNotFound, InvalidRequest, LimitExceeded),
    },
)
async def download_dataset(
    services: ServicesDependency, owner: Owner, dataset_id: str, query: Annotated[ContentQuery, Query()]
) -> Response:
    """Download the content of a dataset as a file.

    An upload of the file, with the reading options of the dataset if it has any, is the same dataset, for CSV
    with `formulas=keep`. In CSV, text that looks like a
    number is in quotes, so that it is read as text; `types` is needed if no other value of the table is
    without quotes, and for text that looks like dates or booleans.
    """
    dataset = await run_in_threadpool(services.storage.datasets.get, owner, dataset_id)
    name: DownloadFormat = query.format or ("csv" if dataset.kind == "tabular" else "npz")
    path = services.spool.new_path()
    try:
        request = DownloadDataset(owner, dataset_id, name, query.formulas == "keep", str(path))
        await uploads.call(services, request)
        return await run_in_threadpool(streamed, path, _MEDIA_TYPES[name], f"{dataset_id}.{name}")
    finally:
        path.unlink(missing_ok=True)  # already open for streaming, or left by a helper that was killed


@router.get(
    "/{dataset_id}/rows", response_model=schemas.RowPage, responses=problems(DatasetNotFound, InvalidRequest)
)
async def get_rows(
    services: ServicesDependency, owner: Owner, dataset_id: str, query: Annotated[RowsQuery, Query()]
) -> Response:
    """Get rows of a dataset, in order."""
    _, body = await services.helpers.call(GetRows(owner, dataset_id, query.offset, query.limit))
    return json_response(body)


@router.delete("/{dataset_id}", status_code=204, responses=problems(DatasetNotFound, DatasetInUse))
def delete_dataset(services: ServicesDependency, owner: Owner, dataset_id: str) -> Response:
    """Delete a dataset.

    Fails with 409 while a job that has not ended uses it.
    """
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
        "links": {"self": here, "rows": f"{here}/rows", "content": f"{here}/content"},
    }
