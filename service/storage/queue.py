"""The queue: the jobs that wait, by device, the highest priority first, then the oldest."""

from collections.abc import Mapping

from sqlalchemy import Connection, and_, bindparam, func, or_, select

from service import errors, retry_after
from service.specs.job import JobStatus
from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.tables import jobs

QUEUED = jobs.c.status == JobStatus.QUEUED
# Built once: each submit asks both.
LENGTH = select(func.count()).where(QUEUED)
SOONER = LENGTH.where(
    # A worker of `cuda:0` takes jobs for `cuda` too: each is in the other's way.
    or_(
        jobs.c.device.in_([bindparam("device"), bindparam("kind")]),
        jobs.c.device.startswith(bindparam("device") + ":"),
    ),
    or_(
        jobs.c.priority > bindparam("priority"),
        and_(jobs.c.priority == bindparam("priority"), jobs.c.sequence < bindparam("sequence")),
    ),
)


class QueueStore:
    """The queued jobs of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self, job: Job) -> int | None:
        """A queued job's place among those for its device; None for a job that is not queued."""
        if job.status is not JobStatus.QUEUED:
            return None
        kind = job.device.split(":", maxsplit=1)[0]
        place = {"device": job.device, "kind": kind, "priority": job.priority, "sequence": job.sequence}
        with self._database.read() as connection:
            return connection.scalars(SOONER, place).one() + 1

    def lengths(self) -> Mapping[str, int]:
        """How many jobs are queued for each device that any is queued for."""
        query = select(jobs.c.device, func.count().label("length")).where(QUEUED).group_by(jobs.c.device)
        with self._database.read() as connection:
            return {row.device: row.length for row in connection.execute(query)}


def check_length(connection: Connection, limit: int) -> None:
    """Refuse a job beyond the limit.

    On Postgres, submits at the same moment don't count each other: the limit is exceeded by a few.

    Raises:
        QueueFull: when as many jobs are queued as may be.
    """
    length = connection.scalars(LENGTH).one()
    if length >= limit:
        raise errors.QueueFull(
            f"{length} jobs are queued already.", retry_after_seconds=retry_after.QUEUE_FULL_SECONDS
        )
