"""Answers of every error as `application/problem+json` (RFC 9457)."""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Scope

from service.errors import BadRequest, FieldError, FitserveError, InvalidRequest, MethodNotAllowed, NotFound
from service.specs.base import errors_of, readable_message

MEDIA_TYPE = "application/problem+json"
_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS")
_BY_STATUS: Mapping[int, type[FitserveError]] = {400: BadRequest, 404: NotFound, 405: MethodNotAllowed}


def add_exception_handlers(app: FastAPI) -> None:
    """Register handlers for the errors of the service and of the framework."""

    @app.exception_handler(FitserveError)
    def _fitserve_error(request: Request, error: FitserveError) -> Response:
        return problem_response(error, request.scope)

    @app.exception_handler(RequestValidationError)
    def _invalid_parameters(request: Request, error: RequestValidationError) -> Response:
        # Our own code validates bodies; FastAPI validates query, path and header parameters only.
        errors = errors_of(error.errors(), _parameter_error)
        return problem_response(InvalidRequest(errors=errors), request.scope)

    @app.exception_handler(HTTPException)
    def _framework_error(request: Request, error: HTTPException) -> Response:
        if request.method == "OPTIONS" and request.scope["path"] == "*":  # RFC 9110, section 9.3.7
            return Response(status_code=204, headers={"Allow": ", ".join(_METHODS)})
        if error.status_code != MethodNotAllowed.status:
            cls = _BY_STATUS.get(error.status_code, BadRequest)
            detail = f"No resource exists at {request.url.path}." if cls is NotFound else None
            return problem_response(cls(detail), request.scope, error.headers)
        allowed = ", ".join(_methods(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        detail = f"{request.method} is not supported here; this path supports {allowed}."
        return problem_response(MethodNotAllowed(detail), request.scope, {"Allow": allowed})


def problem_response(
    error: FitserveError, scope: Scope, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer of an error.

    Args:
        error: The error.
        scope: Scope of the request.
        headers: Further headers.
    """
    headers = {**error.headers, **(headers or {})}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    document = {
        **error.document(quote(scope["path"])),
        # A mounted application has a longer root path.
        "type": scope.get("app_root_path", scope["root_path"]) + error.path(),
        "request_id": scope["state"]["request_id"],
    }
    return Response(orjson.dumps(document), error.status, headers, MEDIA_TYPE)


def _parameter_error(detail: ErrorDetails) -> FieldError:
    """Convert the error of a parameter.

    Its pointer is `Name` for a header, `?name` or `?name.0` in the query, and `?` for several parameters.
    """
    kind, *names = (str(part) for part in detail["loc"])
    if kind == "header":
        pointer = "-".join(word.capitalize() for word in names[0].split("-"))
    else:
        pointer = "?" + ".".join(names)
    return FieldError(pointer, readable_message(detail))


def _methods(request: Request) -> Iterator[str]:
    """Yield the methods that the path of a request supports; a mounted folder of files supports GET."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    supported = [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    for method in supported or ["GET"]:
        yield from ("GET", "HEAD") if method == "GET" else (method,)
    yield "OPTIONS"
