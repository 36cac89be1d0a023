"""Exception handlers that answer every error as `application/problem+json` (RFC 9457)."""

import re
from collections.abc import Mapping

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from service.errors import (
    BadRequest,
    FieldError,
    FitserveError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    unexpected_error,
)
from service.specs.base import errors_of, readable_message

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_BY_STATUS: Mapping[int, type[FitserveError]] = {400: BadRequest, 404: NotFound, 405: MethodNotAllowed}


def add_exception_handlers(app: FastAPI) -> None:
    """Register handlers for the errors of the service and of the framework."""

    @app.exception_handler(FitserveError)
    def _fitserve_error(request: Request, error: FitserveError) -> Response:
        return _response(error, request)

    @app.exception_handler(RequestValidationError)
    def _invalid_parameters(request: Request, error: RequestValidationError) -> Response:
        # Our own code validates bodies; FastAPI validates query, path and header parameters only.
        errors = errors_of(error.errors(), _parameter_error)
        return _response(InvalidRequest(errors=errors), request)

    @app.exception_handler(HTTPException)
    def _framework_error(request: Request, error: HTTPException) -> Response:
        cls = _BY_STATUS.get(error.status_code, BadRequest)
        detail = f"No resource exists at {request.url.path}." if cls is NotFound else None
        headers = _allowed(request, error.headers) if cls is MethodNotAllowed else error.headers
        return _response(cls(detail), request, headers)

    @app.exception_handler(Exception)
    def _unexpected_error(request: Request, error: Exception) -> Response:
        log.error("unexpected error", path=request.url.path, exc_info=error)
        return _response(unexpected_error(), request)


def _parameter_error(detail: ErrorDetails) -> FieldError:
    return FieldError("?" + ".".join(str(part) for part in detail["loc"][1:]), readable_message(detail))


def _response(error: FitserveError, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    headers = dict(headers or {})
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    body = orjson.dumps(error.document(request.url.path))
    return Response(body, error.status, headers, MEDIA_TYPE)


def _allowed(request: Request, headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return an `Allow` header with all methods of a path; Starlette's has those of its first route only."""
    for path, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), request.url.path):
            return {"Allow": ", ".join(method.upper() for method in operations)}
    return headers
