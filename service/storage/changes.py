"""Changes: jobs that have changed since a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, tuple_

from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.tables import jobs
from service.storage.timestamp import now


@dataclass(frozen=True)
class Changes:
    """Recently changed jobs of all owners.

    Attributes:
        until: Database time of the read.
        versions: Versions of the changed jobs, by id.
    """

    until: datetime
    versions: dict[str, int]


class ChangeCursor(NamedTuple):
    """Position in the order of changes; `sequence` breaks ties of equal times."""

    changed_at: datetime
    sequence: int


@dataclass(frozen=True)
class Page:
    """A page of changed jobs.

    Attributes:
        read_at: Database time of the read, or an earlier time.
        jobs: The changed jobs.
    """

    read_at: datetime
    jobs: Sequence[Job]


class ChangeStore:
    """Changes of all jobs.

    A change is dated when its row is written, but visible only after the commit. So a repeated query must
    start somewhat before the time of the previous one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, time: datetime | None) -> Changes:
        """Return the jobs that have changed since a time; None returns only the current database time."""
        with self._database.read() as connection:
            until = connection.execute(select(now())).scalar_one()
            changed = select(jobs.c.id, jobs.c.version).where(jobs.c.changed_at >= (time or until))
            return Changes(until, {row.id: row.version for row in connection.execute(changed)})

    def page(self, owner: str, after: ChangeCursor, limit: int) -> Page:
        """Return a page of an owner's jobs whose last change follows a cursor, by time of change."""
        position = tuple_(jobs.c.changed_at, jobs.c.sequence)
        query = select(*jobs.c, now().label("read_at")).where(jobs.c.owner == owner, position > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.changed_at, jobs.c.sequence).limit(limit)).all()
        changed = [Job.of_row(row[:-1]) for row in rows]
        return Page(rows[0].read_at if rows else after.changed_at, changed)
