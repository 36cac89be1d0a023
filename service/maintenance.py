"""Housekeeping: old jobs are deleted, inline datasets that no job has, artifacts that nothing refers to.

Such artifacts are left by processes that died, or lost their job, between writing one and publishing it.
"""

import threading
from dataclasses import asdict, astuple, dataclass
from datetime import timedelta

import structlog

from service.storage.retention import NAMED_BY
from service.storage.storage import Storage

log = structlog.get_logger()

PERIOD_SECONDS = 3600.0
# Whoever writes an artifact publishes it long before, but for a job that runs.
UNUSED = timedelta(hours=1)


@dataclass(frozen=True)
class Pruned:
    """What has gone."""

    jobs: int
    datasets: int
    artifacts: int


def prune(storage: Storage, age: timedelta | None, unused: timedelta = UNUSED) -> Pruned:
    """Delete what may go.

    Args:
        age: jobs that ended so long ago go; None: none do.
        unused: what was written so long ago goes where nothing refers to it: datasets that came with a
            job, and artifacts.
    """
    jobs = datasets = artifacts = 0
    while age is not None and (deleted := storage.retention.delete_ended(age)).jobs:
        jobs += deleted.jobs
        artifacts += storage.artifacts.discard(deleted.artifacts)
    while names := storage.retention.delete_inline(unused):
        datasets += len(names)
        artifacts += storage.artifacts.discard(names)
    for prefix in NAMED_BY:
        for names in storage.artifacts.old(prefix, unused):
            artifacts += storage.artifacts.discard(storage.retention.unnamed(names))
        storage.artifacts.tidy(prefix, unused)
    return Pruned(jobs, datasets, artifacts)


class Housekeeper:
    """Prunes now and then, in a thread of its own."""

    def __init__(self, storage: Storage, age: timedelta | None) -> None:
        self._storage = storage
        self._age = age
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                pruned = prune(self._storage, self._age)
                if any(astuple(pruned)):
                    log.info("pruned", **asdict(pruned))
            except Exception:  # the next time
                log.exception("not pruned")
            if self._closing.wait(PERIOD_SECONDS):
                return

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._thread.join()
