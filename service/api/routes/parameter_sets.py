"""Parameter sets: upload, list, read, download, delete."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.api.http import lists, requests, uploads
from service.api.http.conditions import Version
from service.api.http.downloads import Download, answer_file, downloads, not_modified
from service.api.http.headers import PARAMETER_SET_LINKS, headers
from service.api.http.negotiation import CSV, FORMATS, AcceptedMediaType
from service.api.http.responses import TEXT, embedded, file_body, json_response, problems, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import parameter_sets as schemas
from service.api.state import Owner, RootPath, Services, ServicesDependency
from service.errors import (
    BadRequest,
    ContentTooLarge,
    IdempotencyKeyReused,
    InvalidRequest,
    LimitExceeded,
    ParameterSetInUse,
    ParameterSetNotFound,
    PreconditionFailed,
    StorageFull,
    UnsupportedMediaType,
)
from service.helper.messages import DownloadParameterSet, ParameterSetStored, ReadParameterSet
from service.specs.base import Name
from service.specs.upload import Format
from service.storage.idempotency import IdempotencyKey
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
    responses={
        201: {
            "description": "The parameter set is stored.",
            **headers("Location", "ETag"),
            **PARAMETER_SET_LINKS,
        },
        200: {
            "model": schemas.ParameterSet,
            "description": "A parameter set of equal content exists and is returned.",
            **headers("Location", "ETag", "Idempotency-Replayed"),
            **PARAMETER_SET_LINKS,
        },
        **problems(
            BadRequest,
            ContentTooLarge,
            UnsupportedMediaType,
            InvalidRequest,
            IdempotencyKeyReused,
            LimitExceeded,
        ),
        **problems(StorageFull),
    },
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
    services: Services,
    owner: str,
    root_path: str,
    stored: ParameterSetStored,
    key: str | None,
    is_gone: bool,
) -> Response:
    """Publish the parameter set that was written, or return the existing one of equal content."""
    new = stored.parameter_set
    idempotency = None if key is None else IdempotencyKey(key, stored.fingerprint)
    if isinstance(new, str):
        found, created = services.storage.parameter_sets.repeat(owner, new, idempotency), False
    else:
        add = partial(services.storage.parameter_sets.add, owner, new, idempotency)
        found, created = uploads.publish(services, new.artifact, is_gone, add)
    headers = {"Location": f"{root_path}/v1/parameters/{found.id}", "ETag": _version(found).etag}
    if key is not None and not created:
        headers["Idempotency-Replayed"] = "true"
    return json_response(
        _document(services, found, root_path), status=201 if created else 200, headers=headers
    )


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
    responses={
        200: headers("ETag"),
        304: {
            "description": "The parameter set still has the version given in If-None-Match.",
            **headers("ETag"),
        },
        **problems(ParameterSetNotFound, PreconditionFailed),
    },
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
    version = _version(found)
    version.check_read(request)
    headers = {"ETag": version.etag}
    if version.is_known(request):
        return Response(status_code=304, headers=headers)
    return json_response(_document(services, found, root_path), headers=headers)


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
    version = _version(found)
    version.check_read(request)
    if version.is_known_since(request):
        return not_modified(version)
    with answer_file(services.spool.new_path()) as path:
        await uploads.call(services, DownloadParameterSet(owner, found.id, str(path)))
        return Download(path, _MEDIA_TYPE, f"{found.id}.safetensors", version)


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
    _version(services.storage.parameter_sets.get(owner, parameter_set_id)).check_write(request)
    services.storage.artifacts.discard([services.storage.parameter_sets.delete(owner, parameter_set_id)])
    return Response(status_code=204)


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
