"""Checkpoints: which there are of a job; the bytes of each are an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from service.storage.database import Database
from service.storage.tables import checkpoints


@dataclass(frozen=True)
class NewCheckpoint:
    """A checkpoint to publish: its artifact is already written."""

    epoch: int
    artifact: str
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A row of the table `checkpoints`."""

    job_id: str
    epoch: int
    artifact: str
    bytes: int
    created_at: datetime


class CheckpointStore:
    """The checkpoints of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, job_id: str) -> Sequence[Checkpoint]:
        """A job's checkpoints by epoch, the latest last."""
        query = select(checkpoints).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.epoch)
        with self._database.read() as connection:
            return [Checkpoint(**row._mapping) for row in connection.execute(query)]
