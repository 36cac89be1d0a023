"""The database: SQLite in a file or Postgres by URL, behind the same short transactions."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from service import errors

BUSY_TIMEOUT_SECONDS = 30
RETRY_AFTER_SECONDS = 5
INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Database:
    """Connections to one database.

    A store method opens one `read()` or `write()`, so that each is a transaction of its own.

    Args:
        url: a SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://…`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # A pool that asks first survives a restart of Postgres.
        self._engine = create_engine(url, pool_pre_ping=True)
        self._writer: Engine = self._engine
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _open_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
            # A deferred transaction that turns to writing after another has written fails at once,
            # without waiting: writers take the lock when they begin.
            self._writer = self._engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")

    def read(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads.

        Raises:
            Unavailable: when the database is away.
        """
        return _transaction(self._engine)

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction: committed at the end, rolled back on an exception.

        Raises:
            Unavailable: when the database is away or stays locked; nothing was written then.
        """
        return _transaction(self._writer)

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            Unavailable: when there is none.
        """
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, TimeoutError) as error:
        raise errors.Unavailable(
            "The database can't be reached or is too busy.", retry_after_seconds=RETRY_AFTER_SECONDS
        ) from error


def insert_or_get(
    connection: Connection, table: Table, unique: list[str], values: Mapping[str, Any]
) -> Row[Any]:
    """Insert a row, or find the one that has the same values in the columns `unique`.

    Either way the row is locked until the transaction ends. Of several transactions that insert the
    same, one inserts; the others wait for it and get its row.
    """
    insert = INSERTS[connection.dialect.name](table).values(values)
    unchanged = {unique[0]: insert.excluded[unique[0]]}
    statement = insert.on_conflict_do_update(index_elements=unique, set_=unchanged).returning(*table.c)
    return connection.execute(statement).one()


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether a version of SQLite is free of the bug of 3.7.0 to 3.51.2 that corrupts a WAL database."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _open_sqlite(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # sqlite3 begins no transactions by itself: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    if wal_is_safe(sqlite3.sqlite_version_info):
        # Refused while another connection is at work; that one has switched, or the next will.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    else:
        # As fast as PERSIST; and unlike DELETE, a commit is on the disk before it returns.
        connection.execute("PRAGMA journal_mode = TRUNCATE")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
