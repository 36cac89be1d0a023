"""Errors as `application/problem+json` (RFC 9457), and a readable page for each type."""

import re
from collections.abc import Mapping

import orjson
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from service.errors import (
    BadRequest,
    FieldError,
    FitserveError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ProblemTypeNotFound,
    problem_types,
)
from service.specs.base import readable

log = structlog.get_logger()

router = APIRouter()

MEDIA_TYPE = "application/problem+json"
_BY_STATUS: Mapping[int, type[FitserveError]] = {400: BadRequest, 404: NotFound, 405: MethodNotAllowed}


class FieldProblem(BaseModel):
    """One mistake in a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    pointer: str
    """Where: `#/training/epochs` in the body, `?every` in the query."""
    detail: str
    """What is wrong, and what to do about it."""


class Problem(BaseModel):
    """What every error answers (RFC 9457); also the shape of a failed job's `error`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """`/problems/<slug>`: the path of a page about errors of this kind."""
    title: str
    """What is the same for all errors of this kind."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened here."""
    instance: str
    """The path it happened at."""
    errors: list[FieldProblem]
    """Each mistake in the request; empty when no place in it is to blame."""


def _answer(error: FitserveError, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    headers = dict(headers or {})
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    body = orjson.dumps(error.document(request.url.path))
    return Response(body, error.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of the app, its own and the framework's, answer in this one shape."""

    @app.exception_handler(FitserveError)
    def _ours(request: Request, error: FitserveError) -> Response:
        return _answer(error, request)

    @app.exception_handler(RequestValidationError)
    def _parameters(request: Request, error: RequestValidationError) -> Response:
        # Bodies are checked by our own code; what FastAPI checks are query, path and header parameters.
        errors = [
            FieldError("?" + ".".join(str(part) for part in detail["loc"][1:]), readable(detail))
            for detail in error.errors()
        ]
        return _answer(InvalidRequest(errors=errors), request)

    @app.exception_handler(HTTPException)
    def _framework(request: Request, error: HTTPException) -> Response:
        cls = _BY_STATUS.get(error.status_code, BadRequest)
        detail = f"There is nothing at {request.url.path}." if cls is NotFound else None
        headers = _allowed(request, error.headers) if cls is MethodNotAllowed else error.headers
        return _answer(cls(detail), request, headers)

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", path=request.url.path, exc_info=error)
        return _answer(FitserveError("An unexpected error happened; the service's log has it."), request)


def _allowed(request: Request, first: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The methods an address takes. Starlette names only those of the first route that has its path."""
    for path, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), request.url.path):
            return {"Allow": ", ".join(method.upper() for method in operations)}
    return first


@router.get("/problems", response_class=HTMLResponse, include_in_schema=False)
def problem_index() -> str:
    """All problem types."""
    items = "".join(
        f'<li><a href="/problems/{slug}">{slug}</a> ({cls.status}): {cls.title()}</li>'
        for slug, cls in problem_types().items()
    )
    return _page("Problems", f"<ul>{items}</ul>")


@router.get("/problems/{slug}", response_class=HTMLResponse, include_in_schema=False)
def problem_page(slug: str) -> str:
    """What one problem type means and what to do about it."""
    cls = problem_types().get(slug)
    if cls is None:
        raise ProblemTypeNotFound(f"There is no problem type {slug!r}.")
    return _page(cls.title(), f"<p>Status {cls.status}, <code>/problems/{slug}</code></p><p>{cls.remedy}</p>")


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:42rem;margin:3rem auto;"
        f'padding:0 1rem}}</style><h1>{title}</h1>{body}<p><a href="/problems">All problems</a></p></html>'
    )
