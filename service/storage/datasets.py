"""Datasets, stored once for each owner and content; the content is an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, bindparam, select

from service import errors
from service.storage.database import INSERTS, Database, insert_or_get
from service.storage.idempotency import IdempotencyKey, bind_creation
from service.storage.ids import new_id
from service.storage.pages import ALWAYS, Cursor, Period, newest_first
from service.storage.pins import pinning_job
from service.storage.room import check_quota
from service.storage.tables import datasets, uploads

# Built once: every submission runs one of these.
_MINE = select(datasets).where(datasets.c.owner == bindparam("owner"))
ONE = _MINE.where(datasets.c.id == bindparam("dataset_id"))
OF_CONTENT = _MINE.where(datasets.c.digest == bindparam("digest"))
HOLD = ONE.with_only_columns(datasets.c.id).with_for_update(read=True)


@dataclass(frozen=True)
class NewDataset:
    """A dataset to add.

    Attributes:
        name: Name chosen by the client.
        digest: Digest of the content.
        kind: `tabular` for named columns, `tensors` for named tensors.
        rows: Number of samples.
        bytes: Size of the artifact.
        artifact: Name of the artifact with the content.
        report: Statistics of the columns, as JSON.
        inline: Whether it was sent with a job; it is deleted once no job uses it.
        id: Id chosen by the service.
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
    def cursor(self) -> Cursor:
        """Position in lists."""
        return Cursor(self.created_at, self.id)


class DatasetStore:
    """Datasets of all owners.

    Args:
        database: Database of the datasets.
        max_stored_bytes: Maximum size of everything that is stored; None for no limit.
        idempotency_hours: Time for which an idempotency key is remembered.
    """

    def __init__(
        self, database: Database, max_stored_bytes: int | None = None, idempotency_hours: float = 24.0
    ) -> None:
        self._database = database
        self._max_stored_bytes = max_stored_bytes
        self._idempotency_period = timedelta(hours=idempotency_hours)

    def add(
        self,
        owner: str,
        dataset: NewDataset,
        upload_digest: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> tuple[Dataset, bool]:
        """Insert a dataset, unless the owner has one of equal content.

        Args:
            owner: The owner.
            dataset: The dataset.
            upload_digest: The digest of the upload that it was read from.
            idempotency: The client's key and the fingerprint of the upload.

        Returns:
            The inserted or existing dataset, and whether it was inserted. If not, no row refers to the
            artifact of the new one.

        Raises:
            IdempotencyKeyReused: The key was used with another fingerprint.
            StorageFull: The quota has no room for it.
        """
        with self._database.write() as connection:
            stored = add_dataset(connection, owner, dataset)
            if stored.id == dataset.id:
                check_quota(connection, self._max_stored_bytes)
            if stored.inline:
                stored = keep_dataset(connection, owner, stored.id)
            self._add_upload(connection, owner, upload_digest, idempotency, stored.id)
        return stored, stored.id == dataset.id

    def keep(
        self,
        owner: str,
        dataset_id: str,
        upload_digest: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> Dataset:
        """Keep a dataset until it is deleted, even if it was sent with a job; return it.

        Args:
            owner: The owner.
            dataset_id: Id of the dataset.
            upload_digest: The digest of an upload that has its content.
            idempotency: The client's key and the fingerprint of that upload.

        Raises:
            DatasetNotFound: If the owner has no such dataset.
            IdempotencyKeyReused: The key was used with another fingerprint.
        """
        with self._database.write() as connection:
            kept = keep_dataset(connection, owner, dataset_id)
            self._add_upload(connection, owner, upload_digest, idempotency, dataset_id)
        return kept

    def _add_upload(
        self,
        connection: Connection,
        owner: str,
        digest: str | None,
        idempotency: IdempotencyKey | None,
        dataset_id: str,
    ) -> None:
        """Record which dataset an upload and its key became."""
        if digest is not None:
            _add_upload(connection, owner, digest, dataset_id)
        if idempotency is not None:
            period = self._idempotency_period
            bind_creation(connection, owner, datasets, idempotency, dataset_id, period)

    def get(self, owner: str, dataset_id: str) -> Dataset:
        """Return a dataset.

        Raises:
            DatasetNotFound: If the owner has no such dataset.
        """
        with self._database.read() as connection:
            row = connection.execute(ONE, {"owner": owner, "dataset_id": dataset_id}).one_or_none()
        if row is None:
            raise errors.DatasetNotFound()
        return Dataset(**row._mapping)

    def find(self, owner: str, digest: str) -> Dataset | None:
        """Return the owner's dataset with this content, or None."""
        with self._database.read() as connection:
            row = connection.execute(OF_CONTENT, {"owner": owner, "digest": digest}).one_or_none()
        return None if row is None else Dataset(**row._mapping)

    def list(
        self,
        owner: str,
        limit: int,
        before: Cursor | None = None,
        upload_digest: str | None = None,
        created: Period = ALWAYS,
    ) -> Sequence[Dataset]:
        """Return a page of the owner's datasets, newest first.

        Args:
            owner: The owner.
            limit: Maximum number of datasets.
            before: The last dataset of the previous page.
            upload_digest: If given, only the dataset that an upload with this digest became.
            created: Period in which the datasets were created.
        """
        chosen = select(datasets).where(datasets.c.owner == owner, *created.conditions(datasets.c.created_at))
        if upload_digest is not None:
            sent = uploads.c.owner == owner, uploads.c.digest == upload_digest
            chosen = chosen.where(datasets.c.id.in_(select(uploads.c.dataset_id).where(*sent)))
        query = newest_first(chosen, datasets, limit, before)
        with self._database.read() as connection:
            return [Dataset(**row._mapping) for row in connection.execute(query)]

    def delete(self, owner: str, dataset_id: str, unchanged: Dataset | None = None) -> str:
        """Delete a dataset; jobs that have ended keep its id.

        Args:
            owner: The owner.
            dataset_id: Id of the dataset.
            unchanged: The dataset must still be this one, unless None.

        Returns:
            Name of the artifact that no row refers to any longer.

        Raises:
            DatasetNotFound: If the owner has no such dataset.
            PreconditionFailed: If it has changed.
            DatasetInUse: If a job that has not ended uses it.
        """
        mine = datasets.c.owner == owner, datasets.c.id == dataset_id
        with self._database.write() as connection:
            # Lock first; see `pinning_job`.
            row = connection.execute(select(datasets).where(*mine).with_for_update()).one_or_none()
            if row is None:
                raise errors.DatasetNotFound()
            dataset = Dataset(**row._mapping)
            if unchanged not in (None, dataset):
                raise errors.PreconditionFailed()
            if job_id := pinning_job(connection, dataset_id):
                raise errors.DatasetInUse(f"The job {job_id} uses this dataset and has not ended.")
            connection.execute(datasets.delete().where(*mine))
        return dataset.artifact


def add_dataset(connection: Connection, owner: str, dataset: NewDataset) -> Dataset:
    """Insert a dataset or find the owner's one of equal content; lock it until the transaction ends."""
    row = insert_or_get(connection, datasets, ("owner", "digest"), vars(dataset) | {"owner": owner})
    return Dataset(**row._mapping)


def _add_upload(connection: Connection, owner: str, digest: str, dataset_id: str) -> None:
    """Record which dataset an upload became; a later version may read the same upload differently."""
    insert = INSERTS[connection.dialect.name](uploads).values(
        owner=owner, digest=digest, dataset_id=dataset_id
    )
    changed = {"dataset_id": insert.excluded.dataset_id}
    connection.execute(insert.on_conflict_do_update(index_elements=["owner", "digest"], set_=changed))


def keep_dataset(connection: Connection, owner: str, dataset_id: str) -> Dataset:
    """Keep a dataset until it is deleted; return it.

    Raises:
        DatasetNotFound: If the owner has no such dataset.
    """
    mine = datasets.c.owner == owner, datasets.c.id == dataset_id
    kept = datasets.update().where(*mine).values(inline=False).returning(datasets)
    row = connection.execute(kept).one_or_none()
    if row is None:
        raise errors.DatasetNotFound(f"No dataset has the id `{dataset_id}`.")
    return Dataset(**row._mapping)


def hold_dataset(connection: Connection, owner: str, dataset_id: str) -> None:
    """Lock a dataset against deletion until the transaction ends.

    Raises:
        DatasetNotFound: If the owner has no such dataset.
    """
    if connection.scalar(HOLD, {"owner": owner, "dataset_id": dataset_id}) is None:
        raise errors.DatasetNotFound(f"No dataset has the id `{dataset_id}`.")
