"""The queue: the jobs that wait, by device, the highest priority first, then the oldest."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from service import errors
from service.specs.job import JobStatus
from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.tables import jobs

RETRY_AFTER_SECONDS = 10
QUEUED = jobs.c.status == JobStatus.QUEUED


class QueueStore:
    """The queued jobs of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self, job: Job) -> int | None:
        """A queued job's place: 1 is the next for its device; None for a job that is not queued.

        A worker of `cuda:0` takes jobs for `cuda` too: each is in the other's way, and counted.
        """
        if job.status is not JobStatus.QUEUED:
            return None
        sooner = or_(
            jobs.c.priority > job.priority,
            and_(jobs.c.priority == job.priority, jobs.c.sequence < job.sequence),
        )
        with self._database.read() as connection:
            return _length(connection, _shares_workers_with(job.device), sooner) + 1

    def lengths(self) -> Mapping[str, int]:
        """How many jobs are queued for each device that any is queued for."""
        query = select(jobs.c.device, func.count().label("length")).where(QUEUED).group_by(jobs.c.device)
        with self._database.read() as connection:
            return {row.device: row.length for row in connection.execute(query)}


def _shares_workers_with(device: str) -> ColumnElement[bool]:
    """Whether a job's device has workers in common with another: `cuda` with each `cuda:N`."""
    kind = device.split(":", maxsplit=1)[0]
    return or_(jobs.c.device.in_({device, kind}), jobs.c.device.startswith(f"{device}:"))


def check_length(connection: Connection, limit: int) -> None:
    """Refuse a job beyond the limit.

    On Postgres, submits at the same moment don't count each other: the limit is exceeded by a few.

    Raises:
        QueueFull: when as many jobs are queued as may be.
    """
    length = _length(connection)
    if length >= limit:
        raise errors.QueueFull(f"{length} jobs are queued already.", retry_after_seconds=RETRY_AFTER_SECONDS)


def _length(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    return connection.scalars(select(func.count()).where(QUEUED, *conditions)).one()
