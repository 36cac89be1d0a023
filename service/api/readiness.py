"""Whether requests can be accepted, and whether a worker can train them."""

import threading
import time
from collections.abc import Callable, Mapping

from service.errors import Unavailable
from service.storage import identity
from service.storage.prepare import why
from service.storage.storage import Storage

OK = "ok"
NO_WORKER = "No worker is alive."
# Checks write to the database and the artifacts; several probes share their results for this time.
PERIOD_SECONDS = 5.0


class Readiness:
    """Checks everything that must work for a request to be stored.

    Args:
        storage: The database and the artifacts, which are written and read.
        has_worker: Returns whether a worker is alive.
        others: Further checks by name, each of which raises `Unavailable`.
    """

    def __init__(
        self, storage: Storage, has_worker: Callable[[], bool], others: Mapping[str, Callable[[], None]]
    ) -> None:
        self._has_worker = has_worker
        self._others = others
        self._stores: Mapping[str, Callable[[], None]] = {
            "database": lambda: identity.check(storage.database),
            "artifacts": storage.artifacts.ping,
        }
        self._lock = threading.Lock()
        self._results: dict[str, str] = {}
        self._expires = 0.0

    def checks(self, *, workers: bool) -> dict[str, str]:
        """Return the result of each check: `ok`, or what is wrong.

        Args:
            workers: Whether to check that a worker is alive.
        """
        with self._lock:
            if time.monotonic() >= self._expires:
                self._results = {name: _result(check) for name, check in self._stores.items()}
                self._expires = time.monotonic() + PERIOD_SECONDS
            results = dict(self._results)
        results |= {name: _result(check) for name, check in self._others.items()}
        if workers:
            results["workers"] = self._worker_result(results["database"])
        return results

    def _worker_result(self, database: str) -> str:
        if database != OK:
            return "Unknown without the database."
        try:
            return OK if self._has_worker() else NO_WORKER
        except Unavailable as error:
            return why(error)


def _result(check: Callable[[], None]) -> str:
    try:
        check()
    except Unavailable as error:
        return why(error)
    return OK
