"""Job logs; each line is written in the transaction of the event that it reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from service import errors
from service.specs.job import LogLevel
from service.storage.database import Database
from service.storage.tables import jobs, log_lines
from service.storage.timestamp import now

ADD = log_lines.insert().values(at=now())
LINES = (
    select(log_lines)
    .where(log_lines.c.job_id == bindparam("job_id"), log_lines.c.number > bindparam("after"))
    .order_by(log_lines.c.number)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True)
class NewLine:
    """A line to add.

    Attributes:
        job_id: Id of the job.
        attempt: Attempt that the line concerns; 0 before the first.
        message: One or more sentences.
        level: Severity.
    """

    job_id: str
    attempt: int
    message: str
    level: LogLevel = LogLevel.INFO


@dataclass(frozen=True)
class LogLine:
    """A row of the table `log_lines`; numbers ascend."""

    number: int
    job_id: str
    attempt: int
    at: datetime
    level: LogLevel
    message: str


class LogStore:
    """Logs of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_job(self, owner: str, job_id: str, limit: int, after: int = 0) -> Sequence[LogLine]:
        """Return lines of an owner's job, in order.

        Args:
            owner: Owner of the job.
            job_id: Id of the job.
            limit: Maximum number of lines.
            after: Number of a line; only later ones are returned.

        Raises:
            JobNotFound: If the owner has no such job.
        """
        mine = select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.id == job_id)
        with self._database.read() as connection:
            if connection.scalar(mine) is None:
                raise errors.JobNotFound(f"No job has the id `{job_id}`.")
            rows = connection.execute(LINES, {"job_id": job_id, "after": after, "limit": limit})
            return [LogLine(*row) for row in rows]


def add_lines(connection: Connection, lines: Sequence[NewLine]) -> None:
    """Insert lines within the transaction of the connection."""
    if lines:
        connection.execute(ADD, [vars(line) for line in lines])
