"""Transactions on SQLite or Postgres."""

import math
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, partial
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, Row, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError, TimeoutError
from sqlalchemy.sql.dml import ReturningInsert

from service import errors, retry_after
from service.storage.database_faults import is_full, read_url
from service.storage.timestamp import now

# Shorter than the time limit of a helper call, so that the error names the database, not the call.
BUSY_TIMEOUT_SECONDS = 20
# Time limits of Postgres for a connection and, by default, for a statement: a server that is suspended or
# unreachable doesn't refuse anything, it just doesn't answer.
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10.0
_NO_LOCK = nullcontext()
# Errors of the database rather than of a statement. Further ones are of their base class itself: SQLite's
# errors for a damaged file. A Postgres server that became read-only raises an internal error.
UNAVAILABLE = (OperationalError, InterfaceError, InternalError, TimeoutError)
INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Database:
    """Connections to a database.

    Each store method opens one `read()` or `write()`, and so runs in a single transaction.

    Args:
        url: SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://…`.
        statement_seconds: Time limit of a statement on Postgres.
        busy_seconds: Time limit of the wait for the lock of SQLite.

    Raises:
        StartError: The URL is malformed, or not one of SQLite or Postgres.
    """

    def __init__(
        self,
        url: str,
        statement_seconds: float = STATEMENT_SECONDS,
        busy_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self.url = url
        backend = read_url(url).get_backend_name()
        self._statement_seconds = statement_seconds
        self._closed = threading.Event()
        self._observer: Any = None  # the connection of `version`, which makes no commits
        if backend == "postgresql":
            # Pinging before use survives a restart of Postgres.
            self._engine = create_engine(url, pool_pre_ping=True, pool_timeout=statement_seconds)
            event.listen(self._engine, "do_connect", self._open_postgres)
        else:
            self._engine = create_engine(url)
        self._writer: Engine = self._engine
        self._queue: Callable[[], AbstractContextManager[None]] = nullcontext
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", partial(_open_sqlite, busy_seconds))
            event.listen(self._engine, "begin", _begin_sqlite)
            # A deferred transaction that starts to write after another has written fails at once instead of
            # waiting. So writers acquire the lock when they begin.
            self._writer = self._engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
            # SQLite polls for the lock at intervals; a semaphore queues the threads of this process.
            self._queue = partial(_queued, threading.Semaphore(), busy_seconds)

    def read(self) -> AbstractContextManager[Connection]:
        """Begin a read-only transaction.

        Raises:
            Unavailable: If the database is unreachable.
        """
        return _transaction(self._engine)

    def write(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that is committed at the end and rolled back on an exception.

        Raises:
            Unavailable: If the database is unreachable or stays locked; nothing was written.
        """
        return _transaction(self._writer, self._queue())

    def version(self) -> int | None:
        """Return a number that is another one after each commit; None if the database has none, as Postgres.

        It is for one thread, and takes a tenth of the time of a query.
        """
        if self._engine.dialect.name != "sqlite":
            return None
        try:
            if self._observer is None:
                self._observer = self._engine.raw_connection()
            (version,) = self._observer.driver_connection.execute("PRAGMA data_version").fetchone()
        except (sqlite3.Error, DatabaseError):  # it is locked or gone: a query finds out
            return None
        return int(version)

    def close(self) -> None:
        """Close all connections; statements that still wait for Postgres fail as if it were unreachable."""
        self._closed.set()
        if self._observer is not None:
            self._observer.close()
        self._engine.dispose()

    def _open_postgres(self, dialect: object, record: object, arguments: Any, options: Any) -> "_Postgres":
        if self._closed.is_set():
            raise psycopg.OperationalError("The database was closed.")
        connect_seconds = min(CONNECT_SECONDS, math.ceil(self._statement_seconds))
        connection = _Postgres.connect(*arguments, **{"connect_timeout": connect_seconds, **options})
        connection.statement_seconds, connection.given_up = self._statement_seconds, self._closed
        return connection


class _Postgres(psycopg.Connection[Any]):
    """Connection with a time limit for each response of the server.

    Attributes:
        statement_seconds: Time limit of a response.
        given_up: Set when all waits must be abandoned.
    """

    statement_seconds = STATEMENT_SECONDS
    given_up = threading.Event()

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Wait for the server, as psycopg does for every exchange: it polls every 0.1 s."""
        return super().wait(self._with_time_limit(gen), *arguments, **options)

    def _with_time_limit(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.statement_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and (self.given_up.is_set() or time.monotonic() > deadline):
                    self.close()
                    raise psycopg.OperationalError("The server does not respond.")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


@contextmanager
def _transaction(engine: Engine, lock: AbstractContextManager[None] = _NO_LOCK) -> Iterator[Connection]:
    try:
        with lock, engine.begin() as connection:
            yield connection
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        if not isinstance(error, UNAVAILABLE) and type(error) is not DatabaseError:
            raise  # an error of the statement
        if is_full(error):
            raise errors.StorageFull(
                "The disk of the database is full. Free space on it outside of the service first: deleting "
                "jobs or datasets needs some, too.",
                retry_after_seconds=retry_after.DISK_FULL_SECONDS,
            ) from error
        raise errors.Unavailable(
            "The database is unreachable or too busy.", retry_after_seconds=retry_after.DATABASE_SECONDS
        ) from error


@contextmanager
def _queued(semaphore: threading.Semaphore, busy_seconds: float) -> Iterator[None]:
    if not semaphore.acquire(timeout=busy_seconds):
        raise TimeoutError("Other threads of this process are writing.")
    try:
        yield
    finally:
        semaphore.release()


def insert_or_get(
    connection: Connection, table: Table, unique: tuple[str, ...], values: Mapping[str, Any]
) -> Row[Any]:
    """Insert a row, or return the one with the same values in the columns `unique`.

    Either way the row is locked until the transaction ends. Of concurrent transactions that insert the same
    values, one inserts the row; the others wait for it and return its row.
    """
    return connection.execute(_insertion(connection.dialect.name, table, unique), values).one()


@cache
def _insertion(dialect: str, table: Table, unique: tuple[str, ...]) -> ReturningInsert[Any]:
    insert = INSERTS[dialect](table).values(created_at=now())
    unchanged = {unique[0]: insert.excluded[unique[0]]}
    return insert.on_conflict_do_update(index_elements=unique, set_=unchanged).returning(*table.c)


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Return whether a version of SQLite lacks the bug of 3.7.0 to 3.51.2 that corrupts WAL databases."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _open_sqlite(busy_seconds: float, connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # sqlite3 must not begin transactions: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    if wal_is_safe(sqlite3.sqlite_version_info):
        # Fails while another connection is active; that one has switched the mode, or the next one will.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    else:
        # As fast as PERSIST and, unlike DELETE, durable when a commit returns.
        connection.execute("PRAGMA journal_mode = TRUNCATE")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
