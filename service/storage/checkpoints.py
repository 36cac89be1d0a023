"""Checkpoints of jobs; the content of each is an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from service import errors
from service.storage.database import Database
from service.storage.tables import checkpoints, jobs

# Built once: every prediction runs it.
OF_JOB = (
    select(checkpoints)
    .select_from(jobs.outerjoin(checkpoints))
    .where(jobs.c.owner == bindparam("owner"), jobs.c.id == bindparam("job_id"))
    .order_by(checkpoints.c.epoch, checkpoints.c.step)
)


@dataclass(frozen=True)
class NewCheckpoint:
    """A checkpoint to publish; its artifact is already written.

    Attributes:
        epoch: Completed epochs.
        artifact: Name of the artifact.
        bytes: Size of the artifact.
        step: Completed steps of the following epoch; 0 between epochs.
    """

    epoch: int
    artifact: str
    bytes: int
    step: int = 0

    @property
    def position(self) -> str:
        """Position in the training, in words."""
        return f"epoch {self.epoch}" + (f" and {self.step} steps" if self.step else "")


@dataclass(frozen=True)
class Checkpoint:
    """A row of the table `checkpoints`."""

    job_id: str
    epoch: int
    step: int
    artifact: str
    bytes: int
    created_at: datetime


class CheckpointStore:
    """The checkpoints of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_job(self, owner: str, job_id: str) -> Sequence[Checkpoint]:
        """Return the checkpoints of an owner's job, oldest first.

        Raises:
            JobNotFound: If the owner has no such job.
        """
        with self._database.read() as connection:
            rows = connection.execute(OF_JOB, {"owner": owner, "job_id": job_id}).all()
        if not rows:
            raise errors.JobNotFound(f"No job has the id `{job_id}`.")
        return [Checkpoint(*row) for row in rows if row.artifact is not None]
