"""Retention: deletes records that are old or unused, and finds unreferenced artifacts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

from sqlalchemy import Column, exists, select, union

from service.specs.job import JobStatus
from service.storage.database import Database
from service.storage.tables import checkpoints, datasets, jobs, parameter_sets
from service.storage.timestamp import from_now

# Maximum number of rows that a transaction deletes, so that others don't wait long for its locks.
ROWS_PER_TRANSACTION = 100
# Columns that name artifacts, by the prefix of the artifacts; other prefixes are never pruned.
REFERENCES: Mapping[str, Column[str]] = {
    "checkpoints": checkpoints.c.artifact,
    "datasets": datasets.c.artifact,
    "parameters": parameter_sets.c.artifact,
}


@dataclass(frozen=True)
class Deleted:
    """Result of a deletion.

    Attributes:
        jobs: Number of deleted jobs.
        artifacts: Names of the artifacts that no row refers to any longer.
    """

    jobs: int
    artifacts: Sequence[str]


class RetentionStore:
    """Records and artifacts that may be deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def delete_ended(self, age: timedelta) -> Deleted:
        """Delete a batch of jobs that ended at least `age` ago, with their history, logs and checkpoints."""
        old = select(jobs.c.id).where(jobs.c.finished_at < from_now(-age)).limit(ROWS_PER_TRANSACTION)
        with self._database.write() as connection:
            ids = connection.scalars(old).all()
            names = connection.scalars(select(checkpoints.c.artifact).where(checkpoints.c.job_id.in_(ids)))
            deleted = Deleted(len(ids), names.all())
            connection.execute(jobs.delete().where(jobs.c.id.in_(ids)))
        return deleted

    def delete_inline(self, age: timedelta) -> Sequence[str]:
        """Delete a batch of inline datasets that are older than `age` and that no job uses.

        Returns:
            Names of the artifacts that no row refers to any longer.
        """
        unused = datasets.c.inline & ~exists().where(jobs.c.dataset_id == datasets.c.id)
        old = (
            select(datasets.c.id)
            .where(unused, datasets.c.created_at < from_now(-age))
            .limit(ROWS_PER_TRANSACTION)
        )
        with self._database.write() as connection:
            # Lock first: a concurrent submission is either seen by the delete, or finds no dataset.
            ids = connection.scalars(old.with_for_update(skip_locked=True)).all()
            delete = datasets.delete().where(datasets.c.id.in_(ids), unused)
            return connection.scalars(delete.returning(datasets.c.artifact)).all()

    def unreferenced(self, artifacts: Collection[str]) -> set[str]:
        """Return the artifacts that no row names, except checkpoints of running jobs.

        The last checkpoint of a job is written before the test split is evaluated, and named afterwards.
        """
        running = select(jobs.c.id).where(jobs.c.status == JobStatus.RUNNING)
        named = union(*(select(column).where(column.in_(artifacts)) for column in REFERENCES.values()))
        with self._database.read() as connection:
            # Read first: a job that ends before the second read has published its checkpoints by then.
            running_ids = set(connection.scalars(running))
            unreferenced = set(artifacts) - set(connection.scalars(named))
        return {name for name in unreferenced if PurePosixPath(name).parent.name not in running_ids}
