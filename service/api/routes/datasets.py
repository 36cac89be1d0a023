"""Datasets: upload, list, read, delete."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from service.api.http import contents, lists, requests, uploads
from service.api.http.conditions import Version
from service.api.http.downloads import downloads
from service.api.http.headers import DATASET_LINKS, headers
from service.api.http.negotiation import CSV, FORMATS, AcceptedMediaType, choose
from service.api.http.responses import TEXT, json_response, problems, timestamp, upload_body
from service.api.http.route import DocumentedRoute
from service.api.http.tables import Formulas, TableQuery, records_response
from service.api.schemas import datasets as schemas
from service.api.state import Owner, RootPath, Services, ServicesDependency
from service.errors import (
    DatasetInUse,
    DatasetNotFound,
    FieldError,
    InvalidRequest,
    LimitExceeded,
    PreconditionFailed,
)
from service.helper.messages import DownloadDataset, GetRows, ReadDataset, UploadStored
from service.specs.base import Name
from service.specs.data import DatasetContent
from service.specs.upload import DownloadFormat, upload_digest
from service.storage.datasets import Dataset

_FORMATS: Mapping[str, DownloadFormat] = {FORMATS[name]: name for name in get_args(DownloadFormat)}
_MEDIA_TYPES = {"tabular": [FORMATS["csv"], FORMATS["parquet"]], "tensors": [FORMATS["npz"]]}
_LIST = "datasets"
# Fields of a dataset that are lists and objects of their own.
_NOT_IN_CSV = {"columns", "warnings", "links"}
IfMatch = Annotated[str | None, Header(description="Delete the dataset only if it has this ETag.")]
router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=DocumentedRoute)


class DatasetQuery(uploads.ReadQuery):
    """Options for reading a file, and the name of the dataset."""

    name: Name | None = None
    """Name of the dataset; a `name` in a JSON body takes precedence."""


class PageQuery(lists.ListQuery, uploads.ReadQuery):
    """Page of a list, or an upload to find."""

    digest: lists.Digest | None = None
    """Only the dataset that was uploaded as these bytes: `sha-256:` and the SHA-256 of the file as it was \
sent (`sha256sum file`). An upload with reading options is found by the same options."""


class ContentQuery(requests.Query):
    """Format of a file."""

    format: DownloadFormat | None = None
    """`csv` or `parquet` for a table, `npz` for tensors. Default: by `Accept`, otherwise `csv` or `npz`."""
    formulas: Formulas = "escape"
    """For CSV: `escape` writes an apostrophe before text that a spreadsheet would run as a formula, which \
begins with `=`, `+`, `-`, `@`, a tab or a line break; `keep` leaves it as it is."""


class RowsQuery(TableQuery):
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
    responses=contents.upload_answers(schemas.Dataset, "dataset", DATASET_LINKS),
)
async def upload_dataset(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    query: Annotated[DatasetQuery, Query()],
    idempotency_key: requests.IdempotencyKey = None,
) -> Response:
    """Upload a dataset: a CSV, Parquet, Arrow IPC, `.npz` or `.safetensors` file, or JSON.

    The file is either the body (`curl --data-binary @file`) or the part `file` of a multipart body
    (`curl -F file=@file`), optionally compressed with gzip or Zstandard. Its format is detected from the
    content unless Content-Type names it. Arrays of a `.npz` or `.safetensors` file must be named `targets`
    and `inputs`, or `inputs.<name>` for several inputs. JSON has `columns`, `rows`, `dataframe_split`, or
    `inputs` with `targets`; or it is a list of rows, `[{"x": 1}, …]`, or JSON Lines. A table has at most
    10,000 columns.
    """
    key = requests.idempotency_key(idempotency_key)
    await run_in_threadpool(services.storage.room.check, requests.declared_bytes(request))
    async with uploads.receive(request, services, query) as (upload, said):
        stored, _ = await uploads.call(services, ReadDataset(owner, said.name, upload))
        is_gone = await request.is_disconnected()
        return await run_in_threadpool(_publish, services, owner, root_path, stored, key, is_gone)


def _publish(
    services: Services, owner: str, root_path: str, stored: UploadStored, key: str | None, is_gone: bool
) -> Response:
    """Publish the dataset that was written, or return the existing one of equal content."""
    dataset, created = contents.publish(services, services.storage.datasets, owner, stored, key, is_gone)
    document = _document(dataset, root_path)
    # Those of this file; the report of an earlier version has those of the first one, too.
    document["warnings"] = [*dict.fromkeys([*stored.warnings, *document["warnings"]])]
    return contents.upload_response(document, _version(dataset), key, created)


@router.get(
    "",
    response_model=schemas.DatasetPage,
    responses={200: {"content": {CSV: TEXT}, **headers("Link")}, **problems(InvalidRequest)},
)
def list_datasets(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    media_type: AcceptedMediaType,
    query: Annotated[PageQuery, Query()],
) -> Response:
    """List datasets, newest first; with `digest`, find the one that was uploaded as certain bytes.

    In CSV, a dataset has no `columns`, `warnings` and `links`.
    """
    options = query.options()
    if query.digest is None and options.model_fields_set:
        detail = "This option belongs to an upload; give its `digest`, too."
        raise InvalidRequest(
            errors=[FieldError(f"?{option}", detail) for option in sorted(options.model_fields_set)]
        )
    digest = query.digest and upload_digest(query.digest.removeprefix(lists.SHA_256), options)
    datasets = services.storage.datasets.list(
        owner, query.page_size + 1, query.cursor(_LIST), digest, query.created
    )
    page = lists.Page(datasets, _LIST, query, request)
    documents = [_document(dataset, root_path) for dataset in page.items]
    return page.csv_response(documents, _NOT_IN_CSV) if media_type == CSV else page.json_response(documents)


@router.get(
    "/{dataset_id}",
    response_model=schemas.Dataset,
    responses=contents.read_answers("dataset", DatasetNotFound),
)
def get_dataset(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    dataset_id: str,
    if_none_match: Annotated[str | None, Header(description="Return 304 if the ETag matches.")] = None,
) -> Response:
    """Get a dataset: its columns with their statistics, and warnings."""
    dataset = services.storage.datasets.get(owner, dataset_id)
    return contents.read_response(request, _version(dataset), lambda: _document(dataset, root_path))


@router.get(
    "/{dataset_id}/content",
    response_class=Response,
    responses={
        **downloads("The file.", _FORMATS),
        **problems(DatasetNotFound, PreconditionFailed, InvalidRequest, LimitExceeded),
    },
)
async def download_dataset(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    dataset_id: str,
    query: Annotated[ContentQuery, Query()],
) -> Response:
    """Download the content of a dataset as a file.

    An upload of the file, with the reading options of the dataset if it has any, is the same dataset, for CSV
    with `formulas=keep`. In CSV, text that looks like a
    number is in quotes, so that it is read as text; `types` is needed if no other value of the table is
    without quotes, and for text that looks like dates or booleans.
    """
    dataset = await run_in_threadpool(services.storage.datasets.get, owner, dataset_id)
    name = query.format or _FORMATS[choose(request, _MEDIA_TYPES[dataset.kind])]
    keep_formulas = query.formulas == "keep"
    tag = "-".join([dataset.id, name, *(["keep"] if keep_formulas else [])])
    version = Version(tag, dataset.created_at)
    return await contents.download(
        request,
        services,
        version,
        lambda path: DownloadDataset(owner, dataset_id, name, keep_formulas, path),
        FORMATS[name],
        f"{dataset_id}.{name}",
    )


@router.get(
    "/{dataset_id}/rows",
    response_model=schemas.RowPage,
    responses={200: {"content": {CSV: TEXT}}, **problems(DatasetNotFound, InvalidRequest)},
)
async def get_rows(
    services: ServicesDependency,
    owner: Owner,
    dataset_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[RowsQuery, Query()],
) -> Response:
    """Get rows of a dataset, in order."""
    _, body = await services.helpers.call(GetRows(owner, dataset_id, query.offset, query.limit))
    if media_type == CSV:
        return await run_in_threadpool(lambda: records_response(orjson.loads(body)["rows"], query))
    return json_response(body)


@router.delete(
    "/{dataset_id}", status_code=204, responses=problems(DatasetNotFound, DatasetInUse, PreconditionFailed)
)
def delete_dataset(
    request: Request, services: ServicesDependency, owner: Owner, dataset_id: str, if_match: IfMatch = None
) -> Response:
    """Delete a dataset.

    Fails with 409 while a job that has not ended uses it.
    """
    return contents.delete(request, services, services.storage.datasets, owner, dataset_id, _version)


def _version(dataset: Dataset) -> Version:
    """Return the version of a dataset: an upload of equal content keeps one that was sent with a job."""
    return Version("1" if dataset.inline else "2", dataset.created_at)


def _document(dataset: Dataset, root_path: str) -> dict[str, Any]:
    here = f"{root_path}/v1/datasets/{dataset.id}"
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
