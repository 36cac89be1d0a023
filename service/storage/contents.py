"""What clients send once and name by id: stored once for each owner and content, as an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar, Generic, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, bindparam, select

from service import errors
from service.storage.database import Database, insert_or_get
from service.storage.idempotency import IdempotencyKey, bind_creation
from service.storage.pages import ALWAYS, Cursor, Period, newest_first
from service.storage.pins import pinning_job
from service.storage.room import check_quota


@dataclass(frozen=True, kw_only=True)
class NewContent:
    """A content to add.

    Attributes:
        name: Name chosen by the client.
        digest: Digest of the content.
        bytes: Size of the artifact.
        artifact: Name of the artifact with the content.
        id: Id chosen by the service.
    """

    name: str | None
    digest: str
    bytes: int
    artifact: str
    id: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """A row of a table of contents; columns that are no fields are not read."""

    id: str
    owner: str
    name: str | None
    digest: str
    bytes: int
    artifact: str
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        """Position in lists."""
        return Cursor(self.created_at, self.id)

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        """Make a record of a row that may have further columns."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


N = TypeVar("N", bound=NewContent)
C = TypeVar("C", bound=Content)


class ContentStore(Generic[N, C]):
    """Contents of one kind, of all owners. The class methods act within the transaction of another store.

    Args:
        database: Database of the contents.
        max_stored_bytes: Maximum size of everything that is stored; None for no limit.
        idempotency_hours: Time for which an idempotency key is remembered.

    Attributes:
        table: The table.
        record: Class of its rows.
        noun: Word for a content.
        use: What a job does that needs a content.
        missing: Error for an id that the owner has not.
        in_use: Error for the deletion of a content that a job needs.
    """

    table: ClassVar[Table]
    record: type[C]
    noun: ClassVar[str]
    use: ClassVar[str]
    missing: ClassVar[type[errors.NotFound]]
    in_use: ClassVar[type[errors.Conflict]]

    def __init__(
        self, database: Database, max_stored_bytes: int | None = None, idempotency_hours: float = 24.0
    ) -> None:
        self._database = database
        self._max_stored_bytes = max_stored_bytes
        self._idempotency_period = timedelta(hours=idempotency_hours)

    def add(
        self,
        owner: str,
        new: N,
        upload_digest: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> tuple[C, bool]:
        """Insert a content, unless the owner has an equal one.

        Args:
            owner: The owner.
            new: The content.
            upload_digest: The digest of the upload that it was read from.
            idempotency: The client's key and the fingerprint of the upload.

        Returns:
            The inserted or existing content, and whether it was inserted. If not, no row refers to the
            artifact of the new one.

        Raises:
            IdempotencyKeyReused: The key was used with another fingerprint.
            StorageFull: The quota has no room for it.
        """
        with self._database.write() as connection:
            stored = self.insert(connection, owner, new)
            if stored.id == new.id:
                check_quota(connection, self._max_stored_bytes)
            kept = self._received(connection, owner, stored.id, upload_digest, idempotency)
        return kept, kept.id == new.id

    def keep(
        self,
        owner: str,
        content_id: str,
        upload_digest: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> C:
        """Return a content that an upload equals, and keep it until it is deleted.

        Args:
            owner: The owner.
            content_id: Id of the content.
            upload_digest: The digest of the upload.
            idempotency: The client's key and the fingerprint of the upload.

        Raises:
            NotFound: The owner has no such content.
            IdempotencyKeyReused: The key was used with another fingerprint.
        """
        with self._database.write() as connection:
            return self._received(connection, owner, content_id, upload_digest, idempotency)

    def _received(
        self,
        connection: Connection,
        owner: str,
        content_id: str,
        upload_digest: str | None,
        idempotency: IdempotencyKey | None,
    ) -> C:
        """Record which content an upload and its key became; return it."""
        kept = self.hold(connection, owner, content_id)
        if idempotency is not None:
            bind_creation(connection, owner, self.table, idempotency, content_id, self._idempotency_period)
        return kept

    def get(self, owner: str, content_id: str) -> C:
        """Return a content.

        Raises:
            NotFound: The owner has no such content.
        """
        with self._database.read() as connection:
            return self._read(connection, self._one(), owner, content_id)

    def find(self, owner: str, digest: str) -> C | None:
        """Return the owner's content with this digest, or None."""
        equal = self._mine().where(self.table.c.digest == digest)
        with self._database.read() as connection:
            row = connection.execute(equal, {"owner": owner}).one_or_none()
        return None if row is None else self.record.of(row._mapping)

    def list(
        self,
        owner: str,
        limit: int,
        before: Cursor | None = None,
        upload_digest: str | None = None,
        created: Period = ALWAYS,
    ) -> Sequence[C]:
        """Return a page of the owner's contents, newest first.

        Args:
            owner: The owner.
            limit: Maximum number of contents.
            before: The last content of the previous page.
            upload_digest: If given, only the content that an upload with this digest became.
            created: Period in which the contents were created.
        """
        chosen = self._mine().where(*created.conditions(self.table.c.created_at))
        if upload_digest is not None:
            chosen = chosen.where(self._of_upload(owner, upload_digest))
        page = newest_first(chosen, self.table, limit, before)
        with self._database.read() as connection:
            return [self.record.of(row._mapping) for row in connection.execute(page, {"owner": owner})]

    def _of_upload(self, owner: str, upload_digest: str) -> ColumnElement[bool]:
        """Return the condition that a content is what an upload became: by default, its bytes."""
        return self.table.c.digest == upload_digest

    def delete(self, owner: str, content_id: str, unchanged: C | None = None) -> str:
        """Delete a content; jobs that have ended keep its id.

        Args:
            owner: The owner.
            content_id: Id of the content.
            unchanged: The content must still be this one, unless None.

        Returns:
            Name of the artifact that no row refers to any longer.

        Raises:
            NotFound: The owner has no such content.
            PreconditionFailed: It has changed.
            Conflict: A job that has not ended needs it.
        """
        with self._database.write() as connection:
            # Lock first; see `pinning_job`.
            found = self._read(connection, self._one().with_for_update(), owner, content_id)
            if unchanged not in (None, found):
                raise errors.PreconditionFailed()
            if job_id := pinning_job(connection, content_id):
                raise self.in_use(f"The job {job_id} {self.use} this {self.noun} and has not ended.")
            connection.execute(self.table.delete().where(self.table.c.id == content_id))
        return found.artifact

    @classmethod
    def insert(cls, connection: Connection, owner: str, new: N) -> C:
        """Insert a content or find the owner's equal one; lock it until the transaction ends."""
        row = insert_or_get(connection, cls.table, ("owner", "digest"), vars(new) | {"owner": owner})
        return cls.record.of(row._mapping)

    @classmethod
    def hold(cls, connection: Connection, owner: str, content_id: str) -> C:
        """Return a content, and lock it against deletion until the transaction ends.

        Raises:
            NotFound: The owner has no such content.
        """
        return cls._read(connection, cls._one().with_for_update(read=True), owner, content_id)

    @classmethod
    def _read(cls, connection: Connection, statement: Select[Any], owner: str, content_id: str) -> C:
        row = connection.execute(statement, {"owner": owner, "content_id": content_id}).one_or_none()
        if row is None:
            raise cls._not_found(content_id)
        return cls.record.of(row._mapping)

    @classmethod
    def _not_found(cls, content_id: str) -> errors.NotFound:
        return cls.missing(f"No {cls.noun} has the id `{content_id}`.")

    # Statements are built once: every submission runs them.
    @classmethod
    @cache
    def _mine(cls) -> Select[Any]:
        columns = [cls.table.c[field.name] for field in fields(cls.record)]
        return select(*columns).where(cls.table.c.owner == bindparam("owner"))

    @classmethod
    @cache
    def _one(cls) -> Select[Any]:
        return cls._mine().where(cls.table.c.id == bindparam("content_id"))
