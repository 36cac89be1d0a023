"""Pruning of old jobs, unused inline datasets and unreferenced artifacts.

Unreferenced artifacts are left by processes that died, or lost their claim, before publishing them.
"""

import threading
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from datetime import timedelta

import structlog
from ulid import ULID

from service.errors import Unavailable
from service.storage.leases import Lease
from service.storage.retention import REFERENCES
from service.storage.storage import Storage

log = structlog.get_logger()

PERIOD_SECONDS = 3600.0
LEASE, LEASE_SECONDS = "housekeeping", PERIOD_SECONDS / 2
# Longer than the time between writing an artifact and committing the row that names it. Checkpoints of
# running jobs may take longer, and are never pruned.
UNUSED = timedelta(hours=1)


@dataclass(frozen=True)
class Pruned:
    """Numbers of deleted records and artifacts."""

    jobs: int
    datasets: int
    artifacts: int


def prune(storage: Storage, age: timedelta | None, unused: timedelta = UNUSED) -> Pruned:
    """Delete old jobs, unused inline datasets and unreferenced artifacts.

    Args:
        storage: Storage to prune.
        age: Age from which on ended jobs are deleted; None keeps all.
        unused: Age from which on unused inline datasets and unreferenced artifacts are deleted.
    """
    jobs = datasets = artifacts = 0
    while age is not None and (deleted := storage.retention.delete_ended(age)).jobs:
        jobs += deleted.jobs
        artifacts += storage.artifacts.discard(deleted.artifacts)
    while names := storage.retention.delete_inline(unused):
        datasets += len(names)
        artifacts += storage.artifacts.discard(names)
    for prefix in REFERENCES:
        for names in storage.artifacts.old(prefix, unused):
            artifacts += storage.artifacts.discard(storage.retention.unreferenced(names))
        storage.artifacts.tidy(prefix, unused)
    return Pruned(jobs, datasets, artifacts)


class Housekeeper:
    """Thread that prunes periodically, unless another service process has done so.

    Args:
        storage: Storage to prune.
        age: Age from which on ended jobs are deleted; None keeps all.
    """

    def __init__(self, storage: Storage, age: timedelta | None) -> None:
        self._storage = storage
        self._age = age
        self._holder = str(ULID())
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                # Kept after pruning: until it expires, no other process repeats the work.
                lease = self._storage.leases.acquire(LEASE, self._holder, LEASE_SECONDS)
                if lease is not None:
                    pruned = prune(self._storage, self._age)
                    if any(astuple(pruned)):
                        log.info("pruned", **asdict(pruned))
            except Exception:  # retried in the next period
                log.exception("not pruned")
                lease = None
            if self._closing.wait(PERIOD_SECONDS):
                return self._release(lease)

    def _release(self, lease: Lease | None) -> None:
        with suppress(Unavailable):  # it expires
            if lease is not None:
                self._storage.leases.release(lease)

    def close(self) -> None:
        """Stop the thread."""
        self._closing.set()
        self._thread.join()
