"""Datasets: each content once for an owner; the bytes are an artifact, the row describes them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, bindparam, or_, select

from service import errors
from service.specs.job import JobStatus
from service.storage.database import Database, insert_or_get
from service.storage.ids import new_id
from service.storage.pages import Place, newest_first
from service.storage.tables import datasets, jobs

ACTIVE = [status for status in JobStatus if not status.ended]
# Built once: each submit asks one of them.
_MINE = select(datasets).where(datasets.c.owner == bindparam("owner"))
ONE = _MINE.where(datasets.c.id == bindparam("dataset_id"))
OF_CONTENT = _MINE.where(datasets.c.digest == bindparam("digest"))
HOLD = ONE.with_only_columns(datasets.c.id).with_for_update(read=True)


@dataclass(frozen=True)
class NewDataset:
    """A dataset to add.

    Attributes:
        name: the client's name for it.
        digest: tells equal content.
        kind: columns by name, or named tensors.
        rows: number of samples.
        bytes: size of the artifact.
        artifact: name of the content among the artifacts.
        report: JSON, what was found about the columns.
        inline: it comes with a job, and goes when no job has it any more.
        id: made by the server.
    """

    name: str | None
    digest: str
    kind: Literal["tabular", "tensors"]
    rows: int
    bytes: int
    artifact: str
    report: str
    inline: bool = False
    id: str = field(default_factory=lambda: new_id("ds"))


@dataclass(frozen=True)
class Dataset:
    """A row of the table `datasets`."""

    id: str
    owner: str
    name: str | None
    digest: str
    kind: Literal["tabular", "tensors"]
    rows: int
    bytes: int
    artifact: str
    report: str
    created_at: datetime
    inline: bool

    @property
    def place(self) -> Place:
        """Its place in lists."""
        return Place(self.created_at, self.id)


class DatasetStore:
    """The datasets of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, owner: str, dataset: NewDataset) -> tuple[Dataset, bool]:
        """Add a dataset, unless the owner has one of equal content.

        Returns:
            The dataset there is now, and whether it is the new one; if it isn't, nothing refers to the
            new one's artifact.
        """
        with self._database.write() as connection:
            stored = add_dataset(connection, owner, dataset)
            if stored.inline:
                stored = keep_dataset(connection, owner, stored.id)
        return stored, stored.id == dataset.id

    def keep(self, owner: str, dataset_id: str) -> Dataset:
        """A dataset that stays from now on until it is deleted, also where it came with a job.

        Raises:
            DatasetNotFound: when the owner has none of this id.
        """
        with self._database.write() as connection:
            return keep_dataset(connection, owner, dataset_id)

    def get(self, owner: str, dataset_id: str) -> Dataset:
        """One dataset.

        Raises:
            DatasetNotFound: when the owner has none of this id.
        """
        with self._database.read() as connection:
            row = connection.execute(ONE, {"owner": owner, "dataset_id": dataset_id}).one_or_none()
        if row is None:
            raise errors.DatasetNotFound()
        return Dataset(**row._mapping)

    def find(self, owner: str, digest: str) -> Dataset | None:
        """The owner's dataset of this content, if there is one."""
        with self._database.read() as connection:
            row = connection.execute(OF_CONTENT, {"owner": owner, "digest": digest}).one_or_none()
        return None if row is None else Dataset(**row._mapping)

    def list(self, owner: str, limit: int, before: Place | None = None) -> Sequence[Dataset]:
        """The owner's datasets after a place in the list, from the newest to the oldest."""
        query = newest_first(select(datasets).where(datasets.c.owner == owner), datasets, limit, before)
        with self._database.read() as connection:
            return [Dataset(**row._mapping) for row in connection.execute(query)]

    def delete(self, owner: str, dataset_id: str) -> str:
        """Delete a dataset; jobs that have ended keep its id.

        Returns:
            The name of the artifact that nothing refers to any more.

        Raises:
            DatasetNotFound: when the owner has none of this id.
            DatasetInUse: when a job that has not ended uses it.
        """
        # Datasets that are a side of a split are named in the request only; no other text is like an id.
        uses = or_(jobs.c.dataset_id == dataset_id, jobs.c.request.contains(dataset_id, autoescape=True))
        users = select(jobs.c.id).where(jobs.c.status.in_(ACTIVE), uses).limit(1)
        mine = datasets.c.owner == owner, datasets.c.id == dataset_id
        with self._database.write() as connection:
            # Locked first: a submit that takes this dataset is either seen here, or finds it gone.
            artifact = connection.scalar(select(datasets.c.artifact).where(*mine).with_for_update())
            if artifact is None:
                raise errors.DatasetNotFound()
            if user := connection.scalar(users):
                raise errors.DatasetInUse(f"The job {user} uses this dataset and has not ended.")
            connection.execute(datasets.delete().where(*mine))
        return str(artifact)


def add_dataset(connection: Connection, owner: str, dataset: NewDataset) -> Dataset:
    """The owner's dataset of this content, new or not; it stays until the transaction ends."""
    row = insert_or_get(connection, datasets, ("owner", "digest"), vars(dataset) | {"owner": owner})
    return Dataset(**row._mapping)


def keep_dataset(connection: Connection, owner: str, dataset_id: str) -> Dataset:
    """The dataset, which stays from now on until it is deleted.

    Raises:
        DatasetNotFound: when the owner has none of this id.
    """
    mine = datasets.c.owner == owner, datasets.c.id == dataset_id
    kept = datasets.update().where(*mine).values(inline=False).returning(datasets)
    row = connection.execute(kept).one_or_none()
    if row is None:
        raise errors.DatasetNotFound(f"No dataset has the id `{dataset_id}`.")
    return Dataset(**row._mapping)


def hold_dataset(connection: Connection, owner: str, dataset_id: str) -> None:
    """Make sure that a dataset stays until the transaction ends.

    Raises:
        DatasetNotFound: when the owner has none of this id.
    """
    if connection.scalar(HOLD, {"owner": owner, "dataset_id": dataset_id}) is None:
        raise errors.DatasetNotFound(f"No dataset has the id `{dataset_id}`.")
