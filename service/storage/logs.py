"""Logs: what became of each job, line by line; each line is written in the transaction that made it true."""

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
        job_id: whose log it belongs to.
        attempt: the job's, which it is about; 0: before the first.
        message: one or more sentences.
        level: whether it is something to look at.
    """

    job_id: str
    attempt: int
    message: str
    level: LogLevel = LogLevel.INFO


@dataclass(frozen=True)
class LogLine:
    """A row of the table `log_lines`; numbers grow."""

    number: int
    job_id: str
    attempt: int
    at: datetime
    level: LogLevel
    message: str


class LogStore:
    """The logs of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_job(self, owner: str, job_id: str, limit: int, after: int = 0) -> Sequence[LogLine]:
        """Lines of an owner's job, in order.

        Args:
            owner: whose job it is.
            job_id: its id.
            limit: no more lines.
            after: the number of a line: only those after it.

        Raises:
            JobNotFound: when the owner has no such job.
        """
        mine = select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.id == job_id)
        with self._database.read() as connection:
            if connection.scalar(mine) is None:
                raise errors.JobNotFound(f"No job has the id `{job_id}`.")
            rows = connection.execute(LINES, {"job_id": job_id, "after": after, "limit": limit})
            return [LogLine(*row) for row in rows]


def add_lines(connection: Connection, lines: Sequence[NewLine]) -> None:
    """Add lines, in a transaction that is under way."""
    if lines:
        connection.execute(ADD, [vars(line) for line in lines])
