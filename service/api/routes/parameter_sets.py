"""Parameter sets: upload, list, read, download, delete."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.api.http import contents, lists, requests, uploads
from service.api.http.conditions import Version
from service.api.http.downloads import downloads
from service.api.http.headers import PARAMETER_SET_LINKS, headers
from service.api.http.negotiation import CSV, FORMATS, AcceptedMediaType
from service.api.http.responses import TEXT, embedded, file_body, problems, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import parameter_sets as schemas
from service.api.state import Owner, RootPath, Services, ServicesDependency
from service.errors import (
    InvalidRequest,
    LimitExceeded,
    ParameterSetInUse,
    ParameterSetNotFound,
    PreconditionFailed,
)
from service.helper.messages import DownloadParameterSet, ReadParameterSet, UploadStored
from service.specs.base import Name
from service.specs.upload import Format
from service.storage.parameter_sets import ParameterSet

_MEDIA_TYPE = FORMATS["safetensors"]
_MEDIA_TYPES: Mapping[str, Format] = {_MEDIA_TYPE: "safetensors"}
_LIST = "parameters"
_NOT_IN_CSV = {"links"}
IfMatch = Annotated[str | None, Header(description="Delete the parameter set only if it has this ETag.")]
router = APIRouter(prefix="/v1/parameters", tags=["parameters"], route_class=DocumentedRoute)


class ParameterSetQuery(uploads.UploadQuery):
    """Name of a parameter set."""

    name: Name | None = None
    """Name for people; need not be unique."""


class PageQuery(lists.ListQuery):
    """Page of a list, or a file to find."""

    digest: lists.Digest | None = None
    """Only the parameter set with this content: `sha-256:` and the SHA-256 of the file, decompressed \
(`sha256sum file`)."""


@router.post(
    "",
    status_code=201,
    response_model=schemas.ParameterSet,
    openapi_extra=file_body(_MEDIA_TYPE),
    responses=contents.upload_answers(schemas.ParameterSet, "parameter set", PARAMETER_SET_LINKS),
)
async def upload_parameters(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    query: Annotated[ParameterSetQuery, Query()],
    idempotency_key: requests.IdempotencyKey = None,
) -> Response:
    """Upload parameters: the `state_dict()` of a model as a `.safetensors` file.

    Jobs start with them by `training.initial_parameters`. The file is either the body
    (`curl --data-binary @file`) or the part `file` of a multipart body (`curl -F file=@file`), optionally
    compressed with gzip or Zstandard. All types of PyTorch's models are accepted, among them bfloat16 and
    float16; NaN is not.
    """
    key = requests.idempotency_key(idempotency_key)
    await run_in_threadpool(services.storage.room.check, requests.declared_bytes(request))
    async with uploads.receive(request, services, query, _MEDIA_TYPES) as (upload, said):
        stored, _ = await uploads.call(services, ReadParameterSet(owner, said.name, upload))
        is_gone = await request.is_disconnected()
        return await run_in_threadpool(_publish, services, owner, root_path, stored, key, is_gone)


def _publish(
    services: Services, owner: str, root_path: str, stored: UploadStored, key: str | None, is_gone: bool
) -> Response:
    """Publish the parameter set that was written, or return the existing one of equal content."""
    store = services.storage.parameter_sets
    found, created = contents.publish(services, store, owner, stored, key, is_gone)
    return contents.upload_response(_document(services, found, root_path), _version(found), key, created)


@router.get(
    "",
    response_model=schemas.ParameterSetPage,
    responses={200: {"content": {CSV: TEXT}, **headers("Link")}, **problems(InvalidRequest)},
)
def list_parameter_sets(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    media_type: AcceptedMediaType,
    query: Annotated[PageQuery, Query()],
) -> Response:
    """List parameter sets, newest first, without their tensors; with `digest`, find that of a file."""
    digest = query.digest and query.digest.removeprefix(lists.SHA_256)
    found = services.storage.parameter_sets.list(
        owner, query.page_size + 1, query.cursor(_LIST), digest, query.created
    )
    page = lists.Page(found, _LIST, query, request)
    documents = [_summary(each, root_path) for each in page.items]
    return page.csv_response(documents, _NOT_IN_CSV) if media_type == CSV else page.json_response(documents)


@router.get(
    "/{parameter_set_id}",
    response_model=schemas.ParameterSet,
    responses=contents.read_answers("parameter set", ParameterSetNotFound),
)
def get_parameter_set(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    root_path: RootPath,
    parameter_set_id: str,
    if_none_match: Annotated[str | None, Header(description="Return 304 if the ETag matches.")] = None,
) -> Response:
    """Get a parameter set: names, shapes and types of its tensors."""
    found = services.storage.parameter_sets.get(owner, parameter_set_id)
    return contents.read_response(request, _version(found), lambda: _document(services, found, root_path))


@router.get(
    "/{parameter_set_id}/content",
    response_class=Response,
    responses={
        **downloads("The file.", [_MEDIA_TYPE]),
        **problems(ParameterSetNotFound, PreconditionFailed, LimitExceeded),
    },
)
async def download_parameters(
    request: Request, services: ServicesDependency, owner: Owner, parameter_set_id: str
) -> Response:
    """Download the file of a parameter set, as it was sent, decompressed."""
    found = await run_in_threadpool(services.storage.parameter_sets.get, owner, parameter_set_id)
    return await contents.download(
        request,
        services,
        _version(found),
        lambda path: DownloadParameterSet(owner, found.id, path),
        _MEDIA_TYPE,
        f"{found.id}.safetensors",
    )


@router.delete(
    "/{parameter_set_id}",
    status_code=204,
    responses=problems(ParameterSetNotFound, ParameterSetInUse, PreconditionFailed),
)
def delete_parameter_set(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    parameter_set_id: str,
    if_match: IfMatch = None,
) -> Response:
    """Delete a parameter set.

    Fails with 409 while a job that starts with it has not ended.
    """
    store = services.storage.parameter_sets
    return contents.delete(request, services, store, owner, parameter_set_id, _version)


def _version(found: ParameterSet) -> Version:
    """Return the only version of a parameter set."""
    return Version(found.digest, found.created_at)


def _summary(found: ParameterSet, root_path: str) -> dict[str, Any]:
    here = f"{root_path}/v1/parameters/{found.id}"
    return {
        "id": found.id,
        "name": found.name,
        "digest": f"{lists.SHA_256}{found.digest}",
        "bytes": found.bytes,
        "tensor_count": found.tensor_count,
        "created_at": timestamp(found.created_at),
        "links": {"self": here, "content": f"{here}/content"},
    }


def _document(services: Services, found: ParameterSet, root_path: str) -> dict[str, Any]:
    tensors = services.storage.parameter_sets.tensors(found.owner, found.id)
    return {**_summary(found, root_path), "tensors": embedded(tensors)}
