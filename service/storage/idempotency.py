"""Idempotency keys: for a period, a repeated key and request return the same job, or whatever was created."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, select

from service import errors
from service.storage.database import insert_or_get
from service.storage.tables import creation_keys, idempotency_keys, jobs
from service.storage.timestamp import from_now


class IdempotencyKey(NamedTuple):
    """Key chosen by the client, and the fingerprint of the request."""

    key: str
    fingerprint: str


def job_of_key(
    connection: Connection, owner: str, idempotency: IdempotencyKey, period: timedelta
) -> Sequence[Any] | None:
    """Return the row of the job that was submitted with this key within the period, or None.

    Raises:
        IdempotencyKeyReused: If the key was used with another fingerprint.
    """
    keys = idempotency_keys.c
    # A single statement: between two, the job could be deleted.
    query = (
        select(*jobs.c, keys.fingerprint)
        .join_from(idempotency_keys, jobs)
        .where(keys.owner == owner, keys.key == idempotency.key, keys.created_at >= from_now(-period))
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.fingerprint != idempotency.fingerprint:
        raise _reused()
    return row[:-1]


def bind_key(
    connection: Connection, owner: str, idempotency: IdempotencyKey, job_id: str, period: timedelta
) -> Sequence[Any] | None:
    """Bind a key to a new job and return None, or return the row of the job it is already bound to.

    Raises:
        IdempotencyKeyReused: If the key was used with another fingerprint.
    """
    expired = idempotency_keys.c.created_at < from_now(-period)
    connection.execute(idempotency_keys.delete().where(expired))
    values = idempotency._asdict() | {"owner": owner, "job_id": job_id}
    row = insert_or_get(connection, idempotency_keys, ("owner", "key"), values)
    return None if row.job_id == job_id else job_of_key(connection, owner, idempotency, period)


def bind_creation(
    connection: Connection,
    owner: str,
    resources: Table,
    idempotency: IdempotencyKey,
    resource_id: str,
    period: timedelta,
) -> None:
    """Bind a key to a resource that the request creates, or that it finds with equal content.

    Of concurrent transactions with one key, the others wait for the first.

    Args:
        connection: The transaction in which the resource is inserted.
        owner: The owner.
        resources: The table of the resource.
        idempotency: The key and the fingerprint of the request.
        resource_id: Id of the resource.
        period: Time for which keys are remembered.

    Raises:
        IdempotencyKeyReused: If the key was used with another fingerprint, and what it created still exists.
    """
    keys = creation_keys.c
    connection.execute(creation_keys.delete().where(keys.created_at < from_now(-period)))
    unique = {"owner": owner, "resource": resources.name, "key": idempotency.key}
    values = {"fingerprint": idempotency.fingerprint, "resource_id": resource_id}
    row = insert_or_get(connection, creation_keys, (*unique,), unique | values)
    if row.fingerprint == idempotency.fingerprint and row.resource_id == resource_id:
        return
    found = connection.scalar(select(resources.c.id).where(resources.c.id == row.resource_id))
    if found is not None and row.fingerprint != idempotency.fingerprint:
        raise _reused()
    bound = creation_keys.update().where(*(keys[name] == value for name, value in unique.items()))
    connection.execute(bound.values(values))


def _reused() -> errors.IdempotencyKeyReused:
    error = errors.FieldError("Idempotency-Key", "The key was sent with another request; use a new one.")
    return errors.IdempotencyKeyReused(errors.IdempotencyKeyReused.title, [error])
