"""The address of the service behind a reverse proxy: its prefix, host, scheme and client."""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

# Without dot segments, which a client removes from a link (RFC 3986, section 5.2.4).
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")


class Forwarded:
    """Middleware that applies the `X-Forwarded-*` headers of trusted proxies to a request.

    The scope's `root_path` becomes the prefix that begins all links, and its `path` starts with it, whether
    or not the proxy has removed it. A slash at the end of a path is dropped: a redirect would have to repeat
    a host that the client may have made up.

    Args:
        app: The application.
        trusted_proxies: Addresses and networks of the proxies.
        root_path: Prefix if no trusted proxy sends `X-Forwarded-Prefix`.
    """

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[str], root_path: str) -> None:
        self._app = app
        self._root_path = root_path
        self._client_and_scheme = ProxyHeadersMiddleware(app, list(trusted_proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        prefix = self._root_path
        client = scope.get("client")
        if client is not None and client[0] in self._client_and_scheme.trusted_hosts:
            prefix = _first(headers, "x-forwarded-prefix", _PREFIX) or prefix
            if host := _first(headers, "x-forwarded-host", _HOST):
                MutableHeaders(scope=scope)["host"] = host
        path = scope["path"].rstrip("/")
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            path = path.removeprefix(prefix)
        scope["root_path"], scope["path"] = prefix, prefix + (path or "/")
        await self._client_and_scheme(scope, receive, send)  # type: ignore[arg-type]


def _first(headers: Headers, name: str, pattern: re.Pattern[str]) -> str | None:
    """Return the first value of a header, which the proxy next to the client has sent; None if invalid."""
    value = headers.get(name, "").split(",")[0].strip().rstrip("/")
    return value if pattern.fullmatch(value) else None
