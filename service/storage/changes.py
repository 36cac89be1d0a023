"""Changes: which jobs have changed since a time, for those who follow them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

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

    def jobs(self, owner: str, since: datetime, limit: int) -> Sequence[Job]:
        """An owner's jobs that have changed since a time, the earliest change first."""
        query = select(jobs).where(jobs.c.owner == owner, jobs.c.changed_at >= since)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.changed_at, jobs.c.sequence).limit(limit))
            return [Job.of_row(row) for row in rows]
