"""The short way of small predictions, which are most requests of a model in use."""

from functools import lru_cache

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from service.api.http.negotiation import CSV, JSON, best_media_type
from service.api.http.route import DocumentedRoute
from service.api.state import OWNER, Startup
from service.helper.batching import MAX_PART_BYTES, Model
from service.helper.client import Caller

_JSON = {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
_CONTENT_TYPE = (b"content-type", b"application/json")


class PredictionRoute(DocumentedRoute):
    """Route that answers a small JSON body without parameters by a part of a batch.

    FastAPI takes five times as long as the rest of the service process to find out that such a request has
    nothing to parse. All others take the usual way, and so do rows that need a call of their own.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that has matched the path."""
        if not _is_small(scope):
            return await super().handle(scope, receive, send)
        body = await _read(receive)
        startup: Startup = scope["state"]["startup"]
        model = Model(OWNER, scope["path_params"]["job_id"], None)
        answer = await startup.services().batching.predict(model, body, _caller(scope, receive))
        if answer is None:
            return await super().handle(scope, _Replay(body, receive), send)
        headers = [_CONTENT_TYPE, (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _is_small(scope: Scope) -> bool:
    """Return whether a request is a POST of a small JSON body that accepts JSON and has no parameters."""
    if scope["method"] != "POST" or scope["query_string"]:
        return False
    media_type, length, accepted = b"", b"", None
    for name, value in scope["headers"]:
        if name == b"content-type":
            media_type = value.lower()
        elif name == b"content-length":
            length = value
        elif name == b"content-encoding" or (name == b"accept" and accepted is not None):
            return False
        elif name == b"accept":
            accepted = value
    if media_type not in _JSON or not length.isdigit() or int(length) > MAX_PART_BYTES:
        return False
    return accepted is None or _accepts_json(accepted)


@lru_cache(maxsize=100)
def _accepts_json(accepted: bytes) -> bool:
    return best_media_type([accepted.decode("latin-1")], [JSON, CSV]) == JSON


async def _read(receive: Receive) -> bytes:
    """Read a body, whose size the server has bounded by its Content-Length."""
    pieces = list[bytes]()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _caller(scope: Scope, receive: Receive) -> Caller:
    async def check() -> None:
        if await Request(scope, receive).is_disconnected():
            raise ClientDisconnect

    return Caller(scope["client"][0] if scope.get("client") else "", check)


class _Replay:
    """A `receive` that begins with a body that was received before."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        first, self._first = self._first, None
        return first or await self._receive()
