"""Headers that every answer has: security, caching and what the answer depends on."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Defaults; an answer may have a header of its own.
_DEFAULTS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # a cache asks before it answers
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Any answer may be another one, 406 at least, for another `Accept`, and most are compressed.
_VARIES = ("Accept", "Accept-Encoding")


class AnswerHeaders:
    """Middleware that adds the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _DEFAULTS.items():
                    headers.setdefault(name, value)
                varies = [
                    *_VARIES,
                    *(name.strip() for value in headers.getlist("vary") for name in value.split(",")),
                ]
                headers["Vary"] = ", ".join(dict.fromkeys(varies))
            await send(message)

        await self._app(scope, receive, send_with_headers)
