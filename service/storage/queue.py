"""Queues of waiting jobs by device, ordered by descending priority, then age."""

from collections.abc import Mapping

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from service import errors, retry_after
from service.specs.job import JobStatus
from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.tables import jobs

QUEUED = jobs.c.status == JobStatus.QUEUED
# Built once: every submission runs both.
LENGTH = select(func.count()).where(QUEUED)
AHEAD = LENGTH.where(
    # Workers of `cuda:0` also claim jobs for `cuda`: both queues compete for them.
    or_(
        jobs.c.device.in_([bindparam("device"), bindparam("device_type")]),
        jobs.c.device.startswith(bindparam("device") + ":"),
    ),
    or_(
        jobs.c.priority > bindparam("priority"),
        and_(jobs.c.priority == bindparam("priority"), jobs.c.sequence < bindparam("sequence")),
    ),
)


class QueueStore:
    """Queued jobs of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self, job: Job) -> int | None:
        """Return the position of a job in its device's queue, from 1; None if it is not queued."""
        if job.status is not JobStatus.QUEUED:
            return None
        device_type = job.device.split(":", maxsplit=1)[0]
        values = {
            "device": job.device,
            "device_type": device_type,
            "priority": job.priority,
            "sequence": job.sequence,
        }
        with self._database.read() as connection:
            return connection.scalars(AHEAD, values).one() + 1

    def lengths(self) -> Mapping[str, int]:
        """Return the number of queued jobs by device, without devices that have none."""
        query = select(jobs.c.device, func.count().label("length")).where(QUEUED).group_by(jobs.c.device)
        with self._database.read() as connection:
            return {row.device: row.length for row in connection.execute(query)}


def check_length(connection: Connection, limit: int) -> None:
    """Refuse a job if the queue has reached its maximum length.

    On Postgres, concurrent submissions don't see each other, so the limit may be exceeded slightly.

    Raises:
        QueueFull: If as many jobs are queued as allowed.
    """
    length = connection.scalars(LENGTH).one()
    if length >= limit:
        raise errors.QueueFull(
            f"{length} jobs are already queued.", retry_after_seconds=retry_after.QUEUE_FULL_SECONDS
        )
