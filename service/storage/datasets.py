"""Datasets."""

from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import ColumnElement, Connection, select

from service import errors
from service.storage.contents import Content, ContentStore, NewContent
from service.storage.database import INSERTS
from service.storage.idempotency import IdempotencyKey
from service.storage.ids import new_id
from service.storage.tables import datasets, uploads


@dataclass(frozen=True, kw_only=True)
class NewDataset(NewContent):
    """A dataset to add.

    Attributes:
        kind: `tabular` for named columns, `tensors` for named tensors.
        rows: Number of samples.
        report: Statistics of the columns, as JSON.
        inline: Whether it was sent with a job; it is deleted once no job uses it.
    """

    kind: Literal["tabular", "tensors"]
    rows: int
    report: str
    inline: bool = False
    id: str = field(default_factory=lambda: new_id("ds"))


@dataclass(frozen=True, kw_only=True)
class Dataset(Content):
    """A row of the table `datasets`."""

    kind: Literal["tabular", "tensors"]
    rows: int
    report: str
    inline: bool


class DatasetStore(ContentStore[NewDataset, Dataset]):
    """Datasets of all owners."""

    table = datasets
    record = Dataset
    noun, use = "dataset", "uses"
    missing, in_use = errors.DatasetNotFound, errors.DatasetInUse

    def _received(
        self,
        connection: Connection,
        owner: str,
        content_id: str,
        upload_digest: str | None,
        idempotency: IdempotencyKey | None,
    ) -> Dataset:
        self.keep_within(connection, owner, content_id)
        if upload_digest is not None:
            # A later version may read the same upload differently.
            insert = INSERTS[connection.dialect.name](uploads).values(
                owner=owner, digest=upload_digest, dataset_id=content_id
            )
            changed = {"dataset_id": insert.excluded.dataset_id}
            connection.execute(insert.on_conflict_do_update(index_elements=["owner", "digest"], set_=changed))
        return super()._received(connection, owner, content_id, upload_digest, idempotency)

    @classmethod
    def keep_within(cls, connection: Connection, owner: str, dataset_id: str) -> None:
        """Keep a dataset until it is deleted, even if it was sent with a job.

        Raises:
            DatasetNotFound: The owner has no such dataset.
        """
        mine = datasets.c.owner == owner, datasets.c.id == dataset_id
        connection.execute(datasets.update().where(*mine).values(inline=False))
        cls.hold(connection, owner, dataset_id)

    def _of_upload(self, owner: str, upload_digest: str) -> ColumnElement[bool]:
        sent = uploads.c.owner == owner, uploads.c.digest == upload_digest
        return datasets.c.id.in_(select(uploads.c.dataset_id).where(*sent))
