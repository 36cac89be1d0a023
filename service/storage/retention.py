"""Retention: what may go, because it is old or because nothing refers to it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from sqlalchemy import Column, exists, select, union

from service.specs.job import JobStatus
from service.storage.database import Database
from service.storage.tables import checkpoints, datasets, jobs
from service.storage.timestamp import from_now

# A transaction deletes so many at most, so that others needn't wait for it.
AT_ONCE = 100
# The rows that name artifacts, by the artifacts' folder: in other folders, nothing is known of any.
NAMED_BY: Mapping[str, Column[str]] = {
    "checkpoints": checkpoints.c.artifact,
    "datasets": datasets.c.artifact,
}


@dataclass(frozen=True)
class Deleted:
    """Jobs that are gone.

    Attributes:
        jobs: how many.
        artifacts: the names of those that nothing refers to any more.
    """

    jobs: int
    artifacts: Sequence[str]


class RetentionStore:
    """What the database says about what may go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def delete_ended(self, age: timedelta) -> Deleted:
        """Delete jobs that ended so long ago, some at a time, with all that belongs to them."""
        old = select(jobs.c.id).where(jobs.c.finished_at < from_now(-age)).limit(AT_ONCE)
        with self._database.write() as connection:
            ids = connection.scalars(old).all()
            names = connection.scalars(select(checkpoints.c.artifact).where(checkpoints.c.job_id.in_(ids)))
            deleted = Deleted(len(ids), names.all())
            connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
        return deleted

    def delete_inline(self, age: timedelta) -> Sequence[str]:
        """Delete datasets that came inline so long ago and that no job has any more, some at a time.

        Returns:
            The names of the artifacts that nothing refers to any more.
        """
        unused = datasets.c.inline & ~exists().where(jobs.c.dataset_id == datasets.c.id)
        old = select(datasets.c.id).where(unused, datasets.c.created_at < from_now(-age)).limit(AT_ONCE)
        with self._database.write() as connection:
            # Locked first: a submit that takes one is either seen by the second statement, or finds it gone.
            ids = connection.scalars(old.with_for_update(skip_locked=True)).all()
            delete = datasets.delete().where(datasets.c.id.in_(ids), unused)
            return connection.scalars(delete.returning(datasets.c.artifact)).all()

    def unnamed(self, artifacts: Collection[str]) -> set[str]:
        """Those artifacts that no row names, beside checkpoints of jobs that run.

        The last checkpoint of a job is written before the job is tested, and named after that.
        """
        running = select(jobs.c.id).where(jobs.c.status == JobStatus.RUNNING)
        named = union(*(select(column).where(column.in_(artifacts)) for column in NAMED_BY.values()))
        with self._database.read() as connection:
            may_be_named = set(connection.scalars(running))  # first: by its end, a job names what is its own
            unnamed = set(artifacts) - set(connection.scalars(named))
        return {name for name in unnamed if PurePosixPath(name).parent.name not in may_be_named}
