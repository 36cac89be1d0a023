"""The database: SQLite in a file or Postgres by URL, behind the same short transactions."""

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, partial
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, Row, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from sqlalchemy.sql.dml import ReturningInsert

from service import errors, retry_after
from service.storage.timestamp import now

# Less than a helper's call may take: it is the database that is away then, not the call that takes long.
BUSY_TIMEOUT_SECONDS = 20
# What Postgres may take to accept a connection, and for a statement. A server that is frozen, or behind a
# line that is cut, refuses nothing: it is silent.
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10.0
_AT_ONCE = nullcontext()
INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Database:
    """Connections to one database.

    A store method opens one `read()` or `write()`, so that each is a transaction of its own.

    Args:
        url: a SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://…`.
        statement_seconds: what a statement may take on Postgres.
        busy_seconds: how long the lock of SQLite is waited for.
    """

    def __init__(
        self,
        url: str,
        statement_seconds: float = STATEMENT_SECONDS,
        busy_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self.url = url
        self._statement_seconds = statement_seconds
        self._closed = threading.Event()
        if make_url(url).get_backend_name() == "postgresql":
            # A pool that asks first survives a restart of Postgres.
            self._engine = create_engine(url, pool_pre_ping=True, pool_timeout=STATEMENT_SECONDS)
            event.listen(self._engine, "do_connect", self._open_postgres)
        else:
            self._engine = create_engine(url)
        self._writer: Engine = self._engine
        self._turn: Callable[[], AbstractContextManager[None]] = nullcontext
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", partial(_open_sqlite, busy_seconds))
            event.listen(self._engine, "begin", _begin_sqlite)
            # A deferred transaction that turns to writing after another has written fails at once,
            # without waiting: writers take the lock when they begin.
            self._writer = self._engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
            # SQLite looks only now and then whether the lock is free. Threads of this process take turns,
            # without looking.
            self._turn = partial(_in_turn, threading.Semaphore(), busy_seconds)

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
        return _transaction(self._writer, self._turn())

    def close(self) -> None:
        """Close the connections; statements that still wait for Postgres end as if that were away."""
        self._closed.set()
        self._engine.dispose()

    def _open_postgres(self, dialect: object, record: object, arguments: Any, options: Any) -> "_Postgres":
        if self._closed.is_set():
            raise psycopg.OperationalError("The database was closed.")
        connection = _Postgres.connect(*arguments, **{"connect_timeout": CONNECT_SECONDS, **options})
        connection.statement_seconds, connection.given_up = self._statement_seconds, self._closed
        return connection


class _Postgres(psycopg.Connection[Any]):
    """A connection that doesn't wait for ever.

    Attributes:
        statement_seconds: what the server may take to answer.
        given_up: set when nobody wants an answer any more.
    """

    statement_seconds = STATEMENT_SECONDS
    given_up = threading.Event()

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """All that is said to the server goes through here: psycopg looks every 0.1 s whether it answers."""
        return super().wait(self._impatient(gen), *arguments, **options)

    def _impatient(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.statement_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and (self.given_up.is_set() or time.monotonic() > deadline):
                    self.close()
                    raise psycopg.OperationalError("The server does not answer.")
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


@contextmanager
def _transaction(engine: Engine, turn: AbstractContextManager[None] = _AT_ONCE) -> Iterator[Connection]:
    try:
        with turn, engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, TimeoutError) as error:
        raise errors.Unavailable(
            "The database can't be reached or is too busy.", retry_after_seconds=retry_after.DATABASE_SECONDS
        ) from error


@contextmanager
def _in_turn(turn: threading.Semaphore, busy_seconds: float) -> Iterator[None]:
    if not turn.acquire(timeout=busy_seconds):
        raise TimeoutError("Other threads of this process write.")
    try:
        yield
    finally:
        turn.release()


def insert_or_get(
    connection: Connection, table: Table, unique: tuple[str, ...], values: Mapping[str, Any]
) -> Row[Any]:
    """Insert a row as of now, or find the one that has the same values in the columns `unique`.

    Either way the row is locked until the transaction ends. Of several transactions that insert the
    same, one inserts; the others wait for it and get its row.
    """
    return connection.execute(_insertion(connection.dialect.name, table, unique), values).one()


@cache
def _insertion(dialect: str, table: Table, unique: tuple[str, ...]) -> ReturningInsert[Any]:
    insert = INSERTS[dialect](table).values(created_at=now())
    unchanged = {unique[0]: insert.excluded[unique[0]]}
    return insert.on_conflict_do_update(index_elements=unique, set_=unchanged).returning(*table.c)


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether a version of SQLite is free of the bug of 3.7.0 to 3.51.2 that corrupts a WAL database."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _open_sqlite(busy_seconds: float, connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # sqlite3 begins no transactions by itself: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")
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
