"""HEAD wherever there is GET (RFC 9110, section 9.3.2)."""

from anyio import CancelScope
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """Middleware that answers HEAD as GET, without the body; an endless body is not waited for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self._app(scope, receive, send)
        with CancelScope() as whole:

            async def send_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    # Not with the first piece, which may take long: until then, the connection is not free.
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                elif message.get("more_body", False):
                    whole.cancel()

            await self._app({**scope, "method": "GET"}, receive, send_headers)
