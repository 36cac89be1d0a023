"""Job logs."""

from service.api.schemas.base import Resource, Timestamp
from service.specs.job import LogLevel


class LogLine(Resource):
    """An entry of a job's log."""

    at: Timestamp
    level: LogLevel
    attempt: int
    """The job's attempt that the entry concerns; 0 before the first attempt."""
    message: str


class LogPage(Resource):
    """A page of a job's log, oldest first."""

    items: list[LogLine]
    next_page_token: str | None
    """Token of the next page; null on the last page."""
