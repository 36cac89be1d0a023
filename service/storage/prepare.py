"""Preparing the storage for use: migrate the database, and check that it and the artifacts can be used."""

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.errors import StorageFull, Unavailable
from service.start_errors import StartError, StartFailed, collected
from service.storage.artifact_faults import check_usable
from service.storage.database_faults import own_message
from service.storage.identity import bind
from service.storage.migrate import migrate
from service.storage.storage import Storage

log = structlog.get_logger()

RETRY_SECONDS = 1.0
# Interval at which the log repeats why the storage is awaited.
REPEAT_SECONDS = 60.0
# Words of a reason that differ at each attempt, such as durations and names.
VARYING = re.compile(r"\S*\d\S*")
# The parts of the storage, by the setting that says where each is.
PARTS: Mapping[str, Callable[[Storage], None]] = {
    "database_url": lambda storage: migrate(storage.database),
    "artifacts_url": lambda storage: check_usable(storage.artifacts),
}


def prepare(storage: Storage, parts: Collection[str] = tuple(PARTS)) -> None:
    """Migrate the database and check the artifacts, of which every process of a service has the same.

    Args:
        storage: The storage.
        parts: What to prepare.

    Raises:
        Unavailable: The database or the artifacts can't be used now, which may pass.
        StartFailed: They can't be used until something is changed; has all causes.
    """
    causes, passing = list[StartError](), None
    for part in parts:
        try:
            with collected(causes):
                PARTS[part](storage)
        except Unavailable as error:
            passing = error
    if not causes and passing is None and len(parts) == len(PARTS):
        with collected(causes):
            bind(storage.database, storage.artifacts)
    if causes:
        raise StartFailed(causes)
    if passing is not None:
        raise passing


def prepare_when_available(
    storage: Storage, stopping: threading.Event, on_wait: Callable[[Unavailable], None] = lambda error: None
) -> bool:
    """Prepare the storage once it is available; return False if `stopping` is set first.

    Args:
        storage: The storage.
        stopping: Ends the wait.
        on_wait: Called with the error whenever the storage is not available.

    Raises:
        StartFailed: It can't be used until something is changed.
    """
    logged, logged_at = "", 0.0
    while not stopping.is_set():
        try:
            prepare(storage)
        except Unavailable as error:
            on_wait(error)
            reason = VARYING.sub("", why(error))
            if reason != logged or time.monotonic() > logged_at + REPEAT_SECONDS:
                logged, logged_at = reason, time.monotonic()
                log.warning("waiting for the storage", reason=why(error))
            stopping.wait(RETRY_SECONDS)
        else:
            return True
    return False


def why(error: Unavailable) -> str:
    """Return the detail of an error; that of the database with its own words."""
    if isinstance(error, StorageFull) or not isinstance(error.__cause__, SQLAlchemyError):
        return error.detail
    return f"{error.detail.rstrip('.')}: {own_message(error.__cause__)}."


def part_of(error: Unavailable) -> str:
    """Return which part of the storage an error concerns: `database` or `artifacts`."""
    return "database" if isinstance(error.__cause__, SQLAlchemyError) else "artifacts"
