"""The web pages that may use the API: checks of writes by browsers, and CORS.

Sources: RFC 6454 (origins), Fetch Metadata (https://www.w3.org/TR/fetch-metadata/), Fetch
(https://fetch.spec.whatwg.org/#http-cors-protocol). Requests that carry neither `Origin` nor
`Sec-Fetch-Site` come from other programs, and are not checked.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.http.problems import problem_response
from service.errors import FitserveError, ForeignOrigin, UnsupportedMediaType

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# Browsers send these to any origin without asking it first (Fetch, "CORS-safelisted request-header").
_SAFELISTED_TYPES = {"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
_REQUEST_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "traceparent",
    "tracestate",
    "X-Request-ID",
)
_RESPONSE_HEADERS = (
    "Accept-Encoding",
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "Server-Timing",
    "X-Request-ID",
)


class Origins:
    """Middleware that refuses writes by pages of other origins, and lets allowed ones read the answers.

    Args:
        app: The application.
        allowed: Origins (`https://lab.example.com`) other than that of the service, or `*` for all.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)
        self._app: ASGIApp = _Cors(app, allowed) if allowed else app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error(scope) if scope["type"] == "http" else None
        if error is None:
            return await self._app(scope, receive, send)
        await problem_response(error, scope)(scope, receive, send)

    def _error(self, scope: Scope) -> FitserveError | None:
        """Return the reason to refuse a request, if any."""
        headers = Headers(scope=scope)
        # Several values together are none that is allowed.
        origin = ", ".join(headers.getlist("origin")) if "origin" in headers else None
        site = ", ".join(headers.getlist("sec-fetch-site")).lower()
        if scope["method"] in _SAFE_METHODS or (origin is None and not site):
            return None
        own = f"{scope['scheme']}://{headers.get('host', '')}".lower()
        foreign_site = site not in ("", "same-origin", "none")
        if origin is None:
            allowed, same = not foreign_site, site == "same-origin"
        else:
            same = _without_default_port(origin.lower()) == _without_default_port(own) and not foreign_site
            allowed = same or "*" in self._allowed or origin.lower() in self._allowed
        if not allowed:
            page = f"of the origin `{origin[:100]}`" if origin else "of another origin"
            return ForeignOrigin(
                f"The request comes from a page {page}, which is not allowed to change anything."
            )
        media_type = headers.get("content-type", "").split(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if has_body and not same and media_type in _SAFELISTED_TYPES:
            return UnsupportedMediaType(
                f"A page of another origin can't send `{media_type or 'no Content-Type'}` here; set the "
                "header Content-Type to the type of the body, e.g. `application/json` or `text/csv`."
            )
        return None


def _without_default_port(origin: str) -> str:
    for scheme, port in (("http://", ":80"), ("https://", ":443")):
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin


class _Cors(CORSMiddleware):
    """Starlette's CORS, with a problem for a preflight that fails."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=allowed,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_RESPONSE_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        asks = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if asks and "origin" in headers:
            answer = self.preflight_response(headers)
            if answer.status_code >= 400:
                what = bytes(answer.body).decode().removeprefix("Disallowed CORS ")
                error = ForeignOrigin(f"The request that this page asks for is not allowed: {what}.")
                answer = problem_response(error, scope, {"Vary": answer.headers["Vary"]})
            return await answer(scope, receive, send)
        await self.simple_response(scope, receive, send, request_headers=headers)
