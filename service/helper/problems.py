"""Conversion of an exception in a task to the error that a client gets."""

import structlog

from service import retry_after
from service.errors import (
    NESTED_TOO_DEEP,
    FitserveError,
    InvalidRequest,
    LimitExceeded,
    unexpected_error,
)
from service.file_errors import unavailable
from service.helper.request import Problem
from service.training.out_of_memory import is_out_of_memory

log = structlog.get_logger()


def problem_of(error: Exception, task: str) -> Problem:
    """Describe an exception as a message; log it if no client has caused it.

    Args:
        error: The exception.
        task: Name of the task that has raised it.
    """
    return Problem.of(_as_fitserve_error(error, task))


def _as_fitserve_error(error: Exception, task: str) -> FitserveError:
    if isinstance(error, FitserveError):
        return error
    if isinstance(error, RecursionError):
        return InvalidRequest(NESTED_TOO_DEEP)
    if is_out_of_memory(error):
        return LimitExceeded("The request exceeds the memory limit of a helper.")
    if isinstance(error, OSError):  # a file to write, such as the answer, or one to read
        log.warning("task failed", task=task, reason=str(error))
        summary = "A file that the request needs can't be written or read"
        return unavailable(error, summary, retry_after.SPOOL_SECONDS)
    log.exception("task failed", task=task)  # a defect of this task: the process can serve the others
    return unexpected_error()
