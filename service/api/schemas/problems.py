"""Errors, as every response with a status of 400 and above shows them."""

from pydantic import ConfigDict

from service.api.schemas.base import Resource


class FieldProblem(Resource):
    """One error in a request, or one warning about it."""

    model_config = ConfigDict(extra="ignore")

    pointer: str
    """Location: `#/training/epochs` in the body, `?every` in the query, `Idempotency-Key` for a header."""
    detail: str
    """What is wrong and how to fix it."""


class Problem(Resource):
    """Error response (RFC 9457); also the `error` of a failed job."""

    model_config = ConfigDict(extra="ignore")

    type: str
    """Problem type, `/problems/<slug>`: path of a page that explains it."""
    title: str
    """Short summary, the same for all errors of this type."""
    status: int
    """HTTP status code."""
    detail: str
    """What happened in this case."""
    instance: str
    """Path of the request or of the job."""
    request_id: str | None = None
    """Id of the request, as in `X-Request-ID` and in the service's log; null for the `error` of a job."""
    errors: list[FieldProblem]
    """The errors in the request, at most 100; `detail` has the number of further ones. Empty when no single
    value is at fault."""
