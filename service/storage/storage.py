"""Everything that persists, opened together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from service.settings import Settings
from service.start_errors import StartError, StartFailed, collected
from service.storage.artifacts import Artifacts
from service.storage.changes import ChangeStore
from service.storage.checkpoints import CheckpointStore
from service.storage.claims import ClaimStore
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.history import HistoryStore
from service.storage.jobs import JobStore
from service.storage.leases import LeaseStore
from service.storage.logs import LogStore
from service.storage.parameter_sets import ParameterSetStore
from service.storage.queue import QueueStore
from service.storage.recovery import RecoveryStore
from service.storage.retention import RetentionStore
from service.storage.room import Room
from service.storage.workers import WorkerStore


@dataclass(frozen=True)
class Storage:
    """Database with a store for each noun, and artifacts."""

    database: Database
    jobs: JobStore
    queue: QueueStore
    claims: ClaimStore
    recovery: RecoveryStore
    changes: ChangeStore
    history: HistoryStore
    checkpoints: CheckpointStore
    logs: LogStore
    datasets: DatasetStore
    parameter_sets: ParameterSetStore
    workers: WorkerStore
    leases: LeaseStore
    retention: RetentionStore
    artifacts: Artifacts
    room: Room

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """Open the database and the artifacts; does not prepare them.

        Raises:
            StartFailed: Their URLs are invalid.
        """
        causes = list[StartError]()
        with collected(causes):
            database = Database(settings.database(), settings.database_timeout_seconds)
        with collected(causes):
            artifacts = Artifacts(settings.artifacts(), settings.artifact_cache())
        if causes:
            raise StartFailed(causes)
        try:
            yield cls(
                database=database,
                jobs=JobStore(
                    database,
                    settings.max_queue_length,
                    settings.idempotency_hours,
                    settings.max_stored_bytes,
                ),
                queue=QueueStore(database),
                claims=ClaimStore(database),
                recovery=RecoveryStore(database),
                changes=ChangeStore(database),
                history=HistoryStore(database),
                checkpoints=CheckpointStore(database),
                logs=LogStore(database),
                datasets=DatasetStore(database, settings.max_stored_bytes, settings.idempotency_hours),
                parameter_sets=ParameterSetStore(
                    database, settings.max_stored_bytes, settings.idempotency_hours
                ),
                workers=WorkerStore(database),
                leases=LeaseStore(database),
                retention=RetentionStore(database),
                artifacts=artifacts,
                room=Room(
                    database,
                    settings.data_dir.absolute(),
                    settings.max_stored_bytes,
                    settings.min_free_bytes,
                ),
            )
        finally:
            database.close()
