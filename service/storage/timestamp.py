"""Time by the clock of the database, which the API and all workers share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Dialect, literal, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Timestamp(TypeDecorator[datetime]):
    """Microseconds since 1970 in the database, timezone-aware UTC datetime in Python."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + value * MICROSECOND


class _Now(FunctionElement[datetime]):
    type = Timestamp()
    inherit_cache = True


def now() -> ColumnElement[datetime]:
    """Return the database time at which the statement began, as SQL."""
    return _Now()


class _Moment(_Now):
    inherit_cache = True


def at_this_moment() -> ColumnElement[datetime]:
    """Return the database time at which a row is written, after waiting for its lock, as SQL."""
    return _Moment()


def from_now(period: timedelta | BindParameter[int]) -> ColumnElement[datetime]:
    """Return `now()` plus a period, which may be negative; a bind parameter is in microseconds."""
    if isinstance(period, timedelta):
        period = literal(period // MICROSECOND, BigInteger)
    return type_coerce(_Now() + period, Timestamp)


@compiles(_Now, "sqlite")
def _now_in_sqlite(element: _Now, compiler: Any, **options: Any) -> str:
    # Milliseconds: `subsec` of strftime needs SQLite 3.42, and a Julian day in a double is no more precise.
    return "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"


@compiles(_Now, "postgresql")
def _now_in_postgresql(element: _Now, compiler: Any, **options: Any) -> str:
    # Not now(), which is the time the transaction began, before it waited for a lock.
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)"


@compiles(_Moment, "postgresql")
def _moment_in_postgresql(element: _Moment, compiler: Any, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
