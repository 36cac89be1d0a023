"""Parameter sets, stored once for each owner and content; the content is an artifact."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Select, select

from service import errors
from service.storage.database import Database, insert_or_get
from service.storage.idempotency import IdempotencyKey, bind_creation
from service.storage.ids import new_id
from service.storage.pages import ALWAYS, Cursor, Period, newest_first
from service.storage.pins import pinning_job
from service.storage.room import check_quota
from service.storage.tables import parameter_sets

# The list of tensors has megabytes for a large model, and most readers need none of it.
_SUMMARY = [column for column in parameter_sets.c if column is not parameter_sets.c.tensors]


@dataclass(frozen=True)
class NewParameterSet:
    """A parameter set to add.

    Attributes:
        name: Name chosen by the client.
        digest: SHA-256 of the file, in hexadecimal.
        bytes: Size of the file.
        tensor_count: Number of tensors.
        artifact: Name of the artifact with the file.
        tensors: Name, shape and dtype of each tensor, as JSON.
        id: Id chosen by the service.
    """

    name: str | None
    digest: str
    bytes: int
    tensor_count: int
    artifact: str
    tensors: str
    id: str = field(default_factory=lambda: new_id("par"))


@dataclass(frozen=True)
class ParameterSet:
    """A row of the table `parameter_sets`, without the list of tensors."""

    id: str
    owner: str
    name: str | None
    digest: str
    bytes: int
    tensor_count: int
    artifact: str
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        """Position in lists."""
        return Cursor(self.created_at, self.id)


class ParameterSetStore:
    """Parameter sets of all owners.

    Args:
        database: Database of the parameter sets.
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
        self, owner: str, new: NewParameterSet, idempotency: IdempotencyKey | None = None
    ) -> tuple[ParameterSet, bool]:
        """Insert a parameter set, unless the owner has one of equal content.

        Args:
            owner: The owner.
            new: The parameter set.
            idempotency: The client's key and the fingerprint of the upload.

        Returns:
            The inserted or existing parameter set, and whether it was inserted. If not, no row refers to the
            artifact of the new one.

        Raises:
            IdempotencyKeyReused: The key was used with another fingerprint.
            StorageFull: The quota has no room for it.
        """
        with self._database.write() as connection:
            row = insert_or_get(connection, parameter_sets, ("owner", "digest"), vars(new) | {"owner": owner})
            values = {name: value for name, value in row._mapping.items() if name != "tensors"}
            stored = ParameterSet(**values)
            if stored.id == new.id:
                check_quota(connection, self._max_stored_bytes)
            self._bind(connection, owner, stored.id, idempotency)
        return stored, stored.id == new.id

    def repeat(self, owner: str, parameter_set_id: str, idempotency: IdempotencyKey | None) -> ParameterSet:
        """Return the parameter set that an upload with a key has found.

        Raises:
            ParameterSetNotFound: If the owner has no such parameter set.
            IdempotencyKeyReused: The key was used with another fingerprint.
        """
        with self._database.write() as connection:
            hold_parameter_set(connection, owner, parameter_set_id)
            self._bind(connection, owner, parameter_set_id, idempotency)
        return self.get(owner, parameter_set_id)

    def _bind(
        self, connection: Connection, owner: str, parameter_set_id: str, idempotency: IdempotencyKey | None
    ) -> None:
        if idempotency is not None:
            period = self._idempotency_period
            bind_creation(connection, owner, parameter_sets, idempotency, parameter_set_id, period)

    def get(self, owner: str, parameter_set_id: str) -> ParameterSet:
        """Return a parameter set.

        Raises:
            ParameterSetNotFound: If the owner has no such parameter set.
        """
        with self._database.read() as connection:
            row = connection.execute(_mine(owner, parameter_set_id, *_SUMMARY)).one_or_none()
        if row is None:
            raise _not_found(parameter_set_id)
        return ParameterSet(**row._mapping)

    def tensors(self, owner: str, parameter_set_id: str) -> str:
        """Return name, shape and dtype of each tensor, as JSON.

        Raises:
            ParameterSetNotFound: If the owner has no such parameter set.
        """
        with self._database.read() as connection:
            row = connection.execute(_mine(owner, parameter_set_id, parameter_sets.c.tensors)).one_or_none()
        if row is None:
            raise _not_found(parameter_set_id)
        return str(row.tensors)

    def find(self, owner: str, digest: str) -> ParameterSet | None:
        """Return the owner's parameter set with this content, or None."""
        found = self.list(owner, 1, digest=digest)
        return found[0] if found else None

    def list(
        self,
        owner: str,
        limit: int,
        before: Cursor | None = None,
        digest: str | None = None,
        created: Period = ALWAYS,
    ) -> Sequence[ParameterSet]:
        """Return a page of the owner's parameter sets, newest first.

        Args:
            owner: The owner.
            limit: Maximum number of parameter sets.
            before: The last parameter set of the previous page.
            digest: If given, only the one with this content.
            created: Period in which the parameter sets were created.
        """
        own = parameter_sets.c.owner == owner, *created.conditions(parameter_sets.c.created_at)
        chosen = select(*_SUMMARY).where(*own)
        if digest is not None:
            chosen = chosen.where(parameter_sets.c.digest == digest)
        query = newest_first(chosen, parameter_sets, limit, before)
        with self._database.read() as connection:
            return [ParameterSet(**row._mapping) for row in connection.execute(query)]

    def delete(self, owner: str, parameter_set_id: str) -> str:
        """Delete a parameter set; jobs that have ended keep its id.

        Returns:
            Name of the artifact that no row refers to any longer.

        Raises:
            ParameterSetNotFound: If the owner has no such parameter set.
            ParameterSetInUse: If a job that has not ended starts with it.
        """
        columns = parameter_sets.c.id, parameter_sets.c.artifact
        with self._database.write() as connection:
            # Lock first; see `pinning_job`.
            locked = _mine(owner, parameter_set_id, *columns).with_for_update()
            row = connection.execute(locked).one_or_none()
            if row is None:
                raise _not_found(parameter_set_id)
            if job_id := pinning_job(connection, row.id):
                detail = f"The job {job_id} starts with this parameter set and has not ended."
                raise errors.ParameterSetInUse(detail)
            connection.execute(parameter_sets.delete().where(parameter_sets.c.id == row.id))
        return str(row.artifact)


def hold_parameter_set(connection: Connection, owner: str, parameter_set_id: str) -> None:
    """Lock a parameter set against deletion until the transaction ends.

    Raises:
        ParameterSetNotFound: If the owner has no such parameter set.
    """
    held = _mine(owner, parameter_set_id, parameter_sets.c.id).with_for_update(read=True)
    if connection.scalar(held) is None:
        raise _not_found(parameter_set_id)


def _mine(owner: str, parameter_set_id: str, *columns: Column[Any]) -> Select[Any]:
    """Select columns of an owner's parameter set."""
    mine = parameter_sets.c.owner == owner, parameter_sets.c.id == parameter_set_id
    return select(*columns).where(*mine)


def _not_found(parameter_set_id: str) -> errors.ParameterSetNotFound:
    return errors.ParameterSetNotFound(f"No parameter set has the id `{parameter_set_id}`.")
