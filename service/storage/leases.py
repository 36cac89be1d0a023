"""Leases: named pieces of work of which any process may do each, but only one at a time.

A holder renews its lease while it works. A process that has died loses it when it expires, and another one
acquires it; the token, one more for each holder, fences the former off, should it have been suspended only.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, select

from service.storage.database import INSERTS, Database
from service.storage.tables import leases
from service.storage.timestamp import at_this_moment, from_now, now


@dataclass(frozen=True)
class Lease:
    """A lease as its holder knows it.

    Attributes:
        name: The work.
        holder: The process that does it.
        token: Number of the lease among those of this name.
    """

    name: str
    holder: str
    token: int


@dataclass(frozen=True)
class LeaseRecord:
    """A row of the table `leases`.

    Attributes:
        lease: The last lease.
        expires_at: When it expires, or has expired.
        is_held: Whether it has not expired.
        report: What its last holder has reported, as JSON; None without a report.
    """

    lease: Lease
    expires_at: datetime
    is_held: bool
    report: str | None


class LeaseStore:
    """Leases of all processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Acquire a lease unless it is held; of concurrent callers, one acquires it.

        Args:
            name: The work.
            holder: The process that will do it.
            seconds: Time until the lease expires unless it is renewed.
        """
        expires_at = from_now(timedelta(seconds=seconds))
        with self._database.write() as connection:
            insert = INSERTS[connection.dialect.name](leases).values(
                name=name, holder=holder, token=1, expires_at=expires_at
            )
            statement = insert.on_conflict_do_update(
                index_elements=["name"],
                set_={"holder": holder, "token": leases.c.token + 1, "expires_at": expires_at},
                where=leases.c.expires_at <= at_this_moment(),
            ).returning(leases.c.token)
            token = connection.scalar(statement)
        return None if token is None else Lease(name, holder, token)

    def renew(self, lease: Lease, seconds: float, report: str | None = None) -> bool:
        """Renew a lease; return False if it has expired, even if nobody else has acquired it.

        Args:
            lease: The lease.
            seconds: Time until it expires unless it is renewed again.
            report: What the holder reports about its work, as JSON.
        """
        values = {"expires_at": from_now(timedelta(seconds=seconds)), "report": report}
        with self._database.write() as connection:
            statement = leases.update().where(_is_held(lease)).values(values)
            return connection.execute(statement).rowcount == 1

    def release(self, lease: Lease) -> None:
        """Let another process acquire a lease; no effect if it has expired."""
        with self._database.write() as connection:
            connection.execute(leases.update().where(_is_held(lease)).values(expires_at=now()))

    def read(self, name: str) -> LeaseRecord | None:
        """Return the state of a lease; None if it was never acquired."""
        query = select(leases, (leases.c.expires_at > now()).label("is_held")).where(leases.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        lease = Lease(row.name, row.holder, row.token)
        return LeaseRecord(lease, row.expires_at, bool(row.is_held), row.report)


def _is_held(lease: Lease) -> ColumnElement[bool]:
    return and_(
        leases.c.name == lease.name, leases.c.token == lease.token, leases.c.expires_at > at_this_moment()
    )
