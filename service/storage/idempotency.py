"""Idempotency keys: for a period, a repeated key and request return the same job."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from service import errors
from service.storage.database import insert_or_get
from service.storage.tables import idempotency_keys, jobs
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
        raise errors.IdempotencyKeyReused()
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
