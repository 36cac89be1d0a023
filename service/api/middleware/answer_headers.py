"""Headers that every answer has: security, caching and what the answer depends on."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Defaults; an answer may have a header of its own.
_DEFAULTS: Sequence[tuple[bytes, bytes]] = (
    (b"cache-control", b"no-cache"),  # a cache asks before it answers
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
# Any answer may be another one, 406 at least, for another `Accept`, and most are compressed.
_VARIES = (b"Accept", b"Accept-Encoding")


class AnswerHeaders:
    """Middleware that adds the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_defaults(message["headers"])
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _with_defaults(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, whose names are in lower case, with those of every answer."""
    own = {name for name, _ in headers}
    varies = dict.fromkeys(_VARIES)
    if b"vary" in own:
        given = b",".join(value for name, value in headers if name == b"vary")
        varies |= dict.fromkeys(each.strip() for each in given.split(b","))
    return [
        *(pair for pair in headers if pair[0] != b"vary"),
        *(pair for pair in _DEFAULTS if pair[0] not in own),
        (b"vary", b", ".join(varies)),
    ]
