"""Connections to SQLite."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from service.errors import StorageFull
from service.storage.database import Database, wal_is_safe
from service.storage.migrate import migrate


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_used_with_safe_versions_only(version: tuple[int, int, int], safe: bool) -> None:
    """The write-ahead log is used only with versions of SQLite that do not corrupt it."""
    assert wal_is_safe(version) is safe


def test_a_connection_is_set_up(tmp_path: Path) -> None:
    """A connection enforces foreign keys, waits for locks and uses a safe journal mode."""
    database = Database(f"sqlite:///{tmp_path / 'fitserve.db'}")
    with database.read() as connection:
        pragma = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("foreign_keys", "busy_timeout", "journal_mode", "synchronous")
        }
    database.close()
    journal = "wal" if wal_is_safe(sqlite3.sqlite_version_info) else "truncate"
    assert pragma == {"foreign_keys": 1, "busy_timeout": 20_000, "journal_mode": journal, "synchronous": 2}


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    """A read transaction proceeds while a write transaction is open."""
    database = Database(f"sqlite:///{tmp_path / 'fitserve.db'}")
    migrate(database)
    with database.write(), database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 0
    database.close()


def test_a_full_disk_is_not_a_busy_database(tmp_path: Path) -> None:
    """What SQLite can't write for lack of space says to free some; a deletion would need some, too."""
    database = Database(f"sqlite:///{tmp_path / 'fitserve.db'}")
    migrate(database)

    def write() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite raises it to the present size
            connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(1000000)")

    with pytest.raises(StorageFull, match="deleting jobs or datasets needs some, too"):
        write()
    database.close()
