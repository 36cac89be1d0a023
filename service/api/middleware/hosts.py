"""The hosts under which clients may reach the service."""

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.problems import problem_response
from service.errors import HostNotAllowed

# uri-host [":" port], RFC 9110, section 7.2.
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")


class Hosts:
    """Middleware that refuses requests for other hosts, and those that name none or several.

    A page whose own host name resolves to the address of the service would otherwise be of the same origin
    as the service (DNS rebinding).

    Args:
        app: The application.
        allowed: Names, `*.example.com` for all that end so, or `*` for all.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._any = "*" in allowed
        self._names = frozenset(allowed)
        self._endings = tuple(name[1:] for name in allowed if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = self._error(scope) if scope["type"] == "http" else None
        if detail is None:
            return await self._app(scope, receive, send)
        await problem_response(HostNotAllowed(detail), scope)(scope, receive, send)

    def _error(self, scope: Scope) -> str | None:
        """Return what is wrong with the host of a request, if anything."""
        given = Headers(scope=scope).getlist("host")
        if not given:
            if scope["http_version"] == "1.0":
                return None
            return "The header `Host` is missing; HTTP/1.1 requires it."
        if len(given) > 1:
            return "The header `Host` is sent more than once."
        match = _HOST.fullmatch(given[0].strip())
        if match is None:
            return "The header `Host` is not a host name with an optional port."
        name = match["name"].lower().rstrip(".")
        if self._any or name in self._names or name.endswith(self._endings):
            return None
        return f"The host `{name[:100]}` is not among those of the setting FITSERVE_ALLOWED_HOSTS."
