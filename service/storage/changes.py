"""Changes: which jobs have changed since a time, for those who follow them."""

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
    """What has changed lately, of all owners.

    Attributes:
        until: the database's time when this was read.
        versions: of the changed jobs, by id.
    """

    until: datetime
    versions: dict[str, int]


class Place(NamedTuple):
    """A job's place in the order of changes: several may have changed at the same time."""

    changed_at: datetime
    sequence: int


@dataclass(frozen=True)
class Page:
    """Some changed jobs.

    Attributes:
        read_at: the database's time then, or something earlier.
        jobs: as they were then.
    """

    read_at: datetime
    jobs: Sequence[Job]


class ChangeStore:
    """The changes of all jobs.

    A change is dated when it is written and seen when it is committed, a moment later: who asks again asks
    from a little before.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, time: datetime | None) -> Changes:
        """The jobs that have changed since a time; None: since now."""
        with self._database.read() as connection:
            until = connection.execute(select(now())).scalar_one()
            changed = select(jobs.c.id, jobs.c.version).where(jobs.c.changed_at >= (time or until))
            return Changes(until, {row.id: row.version for row in connection.execute(changed)})

    def page(self, owner: str, place: Place, limit: int) -> Page:
        """An owner's jobs whose last change is after a place, the earliest change first."""
        here = tuple_(jobs.c.changed_at, jobs.c.sequence)
        query = select(*jobs.c, now().label("read_at")).where(jobs.c.owner == owner, here > place)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.changed_at, jobs.c.sequence).limit(limit)).all()
        changed = [Job.of_row(row[:-1]) for row in rows]
        return Page(rows[0].read_at if rows else place.changed_at, changed)
