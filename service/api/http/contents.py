"""Answers of the routes of datasets and of parameter sets, which are both uploaded contents."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from service.api.http import uploads
from service.api.http.conditions import Version
from service.api.http.downloads import Download, answer_file, not_modified
from service.api.http.headers import headers
from service.api.http.responses import json_response, problems
from service.api.state import Services
from service.errors import (
    BadRequest,
    ContentTooLarge,
    IdempotencyKeyReused,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    StorageFull,
    UnsupportedMediaType,
)
from service.helper.messages import UploadStored
from service.helper.request import Request as HelperRequest
from service.storage.contents import Content, ContentStore
from service.storage.idempotency import IdempotencyKey

C = TypeVar("C", bound=Content)
Documented = dict[int | str, dict[str, Any]]


def upload_answers(model: type[BaseModel], noun: str, links: Mapping[str, Any]) -> Documented:
    """Document the answers to an upload."""
    return {
        201: {"description": f"The {noun} is stored.", **headers("Location", "ETag"), **links},
        200: {
            "model": model,
            "description": f"A {noun} of equal content exists and is returned.",
            **headers("Location", "ETag", "Idempotency-Replayed"),
            **links,
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
    }


def read_answers(noun: str, missing: type[NotFound]) -> Documented:
    """Document the answers to a request for one content."""
    known = f"The {noun} still has the version given in If-None-Match."
    return {
        200: headers("ETag"),
        304: {"description": known, **headers("ETag")},
        **problems(missing, PreconditionFailed),
    }


def publish(
    services: Services,
    store: ContentStore[Any, C],
    owner: str,
    stored: UploadStored,
    key: str | None,
    is_gone: bool,
) -> tuple[C, bool]:
    """Publish the artifact of an upload, or discard it if no row refers to it.

    Nothing is published for a client that has disconnected: it can't know the id.

    Args:
        services: The services.
        store: The store of the content.
        owner: The client.
        stored: The content, whose artifact is written already.
        key: The client's idempotency key.
        is_gone: Whether the client has disconnected.

    Returns:
        The stored content, and whether it is new.

    Raises:
        ClientDisconnect: The client is gone.
        IdempotencyKeyReused: The key was used with another upload.
        StorageFull: Other uploads took the room since it was checked.
    """
    new = stored.content
    idempotency = None if key is None else IdempotencyKey(key, stored.fingerprint)
    if isinstance(new, str):
        return store.keep(owner, new, stored.upload_digest, idempotency), False
    discard = services.storage.artifacts.discard
    if is_gone:
        discard([new.artifact])
        raise ClientDisconnect
    try:
        content, created = store.add(owner, new, stored.upload_digest, idempotency)
    except (IdempotencyKeyReused, StorageFull):
        discard([new.artifact])
        raise
    if not created:  # equal content was published concurrently
        discard([new.artifact])
    return content, created


def upload_response(
    document: Mapping[str, Any], version: Version, key: str | None, created: bool
) -> Response:
    """Return the document of an uploaded content, which is new or was found."""
    headers = {"Location": document["links"]["self"], "ETag": version.etag}
    if key is not None and not created:
        headers["Idempotency-Replayed"] = "true"
    return json_response(document, 201 if created else 200, headers)


def read_response(request: Request, version: Version, document: Callable[[], Mapping[str, Any]]) -> Response:
    """Return the document of a content, unless the client has this version of it."""
    version.check_read(request)
    headers = {"ETag": version.etag}
    if version.is_known(request):
        return Response(status_code=304, headers=headers)
    return json_response(document(), headers=headers)


async def download(
    request: Request,
    services: Services,
    version: Version,
    write: Callable[[str], HelperRequest[Any]],
    media_type: str,
    filename: str,
) -> Response:
    """Return a file that a helper writes, unless the client has this version of it.

    Args:
        request: The request.
        services: The services.
        version: The version of the file.
        write: Makes the request to the helper, given the path of the file.
        media_type: Its media type.
        filename: Name under which the client may save it.
    """
    version.check_read(request)
    if version.is_known_since(request):
        return not_modified(version)
    with answer_file(services.spool.new_path()) as path:
        await uploads.call(services, write(str(path)))
        return Download(path, media_type, filename, version)


def delete(
    request: Request,
    services: Services,
    store: ContentStore[Any, C],
    owner: str,
    content_id: str,
    version_of: Callable[[C], Version],
) -> Response:
    """Delete a content, of the version that the request names if it names one."""
    found = store.get(owner, content_id)
    unchanged = found if version_of(found).check_write(request) else None
    services.storage.artifacts.discard([store.delete(owner, content_id, unchanged)])
    return Response(status_code=204)
