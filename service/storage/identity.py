"""The identity of the artifact store, which the database and the store both keep.

Without it, a process with another artifact store would claim jobs whose data it can't read, and two databases
with one store would delete each other's artifacts as unreferenced.
"""

from sqlalchemy import select
from ulid import ULID

from service.configuration import named
from service.start_errors import ExitStatus, StartError
from service.storage.artifacts import IDENTITY, Artifacts
from service.storage.database import Database, insert_or_get
from service.storage.tables import stores
from service.storage.timestamp import now

NAME = "artifacts"
IS_BOUND = stores.c.checked_at.is_not(None)
SETTINGS = f"{named('artifacts_url')}, or {named('data_dir')}"


def bind(database: Database, artifacts: Artifacts) -> None:
    """Check that a store is the one of the database; the first process of a new database decides which.

    Raises:
        Unavailable: The database or the store can't be reached now.
        StartError: The store belongs to another database, or the database to another store.
    """
    identity = bound_identity(database) or _bind_first(database, artifacts)
    check_identity(artifacts, identity)
    artifacts.expect(identity)


def bound_identity(database: Database) -> str | None:
    """Return the identity that a database has, of which a store was written; None for a new one.

    Raises:
        Unavailable: The database can't be read.
    """
    with database.read() as connection:
        return connection.scalar(select(stores.c.identity).where(stores.c.name == NAME, IS_BOUND))


def check_identity(artifacts: Artifacts, identity: str) -> None:
    """Check that a store has an identity.

    Raises:
        Unavailable: The store can't be reached now.
        StartError: It has another one, or none.
    """
    if artifacts.identity() != identity:
        raise StartError(
            ExitStatus.STORE,
            f"The artifacts of this database are not at {artifacts.location}: give every process of a "
            f"service the same {SETTINGS}.",
        )


def _bind_first(database: Database, artifacts: Artifacts) -> str:
    """Write the identity to the store, unless another process does so first; return it."""
    # Committed first: if this process dies after the second step, the next one recognizes the store.
    with database.write() as connection:
        insert_or_get(connection, stores, ("name",), {"name": NAME, "identity": str(ULID())})
    with database.write() as connection:  # which locks the row: other processes wait
        row = insert_or_get(connection, stores, ("name",), {"name": NAME, "identity": ""})
        if row.checked_at is None:
            found = artifacts.identity()
            if found is None:
                artifacts.identify(row.identity)
            elif found != row.identity:
                raise StartError(
                    ExitStatus.STORE,
                    f"The artifacts at {artifacts.location} belong to another database: set {SETTINGS}, to "
                    f"an empty place, or {named('database_url')} to that database. If it no longer exists, "
                    f"delete `{IDENTITY}` there; artifacts that this database does not know will be deleted.",
                )
            connection.execute(stores.update().values(checked_at=now()))
    return str(row.identity)


def check(database: Database) -> None:
    """Check that the database can be written and read.

    Raises:
        Unavailable: It can't.
    """
    mine = stores.c.name == NAME
    with database.write() as connection:
        connection.execute(stores.update().where(mine).values(checked_at=now()))
    with database.read() as connection:
        connection.execute(select(stores.c.checked_at).where(mine)).one()
