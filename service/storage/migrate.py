"""Schema migrations; only the process that starts a service imports alembic."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from service.errors import Unavailable
from service.storage.database import Database
from service.storage.database_faults import may_pass, unusable
from service.storage.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
# Building an index over all jobs may take long.
STATEMENT_SECONDS = 600.0
MIGRATION_LOCK = 0x46495453  # arbitrary key that no other program locks in this Postgres database


def migrate(database: Database, revision: str = "head") -> None:
    """Migrate the schema to a revision, by default the newest; safe to call from several processes.

    Raises:
        Unavailable: The database can't be used now, which may pass.
        StartError: It can't be used until something is changed.
    """
    with _faults(database):
        _migrate(database, revision)


@contextmanager
def _faults(database: Database) -> Iterator[None]:
    """Distinguish errors that may pass from others."""
    try:
        yield
    except Unavailable as error:
        if error.__cause__ is None or may_pass(error.__cause__):
            raise
        raise unusable(database.url, error.__cause__) from error
    except (SQLAlchemyError, CommandError, OSError) as error:
        raise unusable(database.url, error) from error


def inspect(database: Database) -> str:
    """Check that a database could be migrated and written, without changing it; describe its schema.

    Raises:
        Unavailable: The database can't be used now, which may pass.
        StartError: It can't be used until something is changed.
    """
    url = make_url(database.url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return "is created by a start"
    with _faults(database), suppress(_Undone), database.write() as connection:
        scripts = ScriptDirectory(str(MIGRATIONS))
        head, current = (
            scripts.get_current_head(),
            MigrationContext.configure(connection).get_current_revision(),
        )
        if current is not None:
            scripts.get_revision(current)
        elif others := set(sqlalchemy.inspect(connection).get_table_names()) & metadata.tables.keys():
            raise CommandError(f"the table {min(others)} already exists")
        connection.execute(text("CREATE TABLE fitserve_check (x INTEGER)"))
        raise _Undone
    return "ok" if current == head else f"has the schema {current}; a start migrates it to {head}"


class _Undone(Exception):
    """Rolls back a transaction."""


def _migrate(database: Database, revision: str) -> None:
    url = make_url(database.url)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    patient = Database(database.url, STATEMENT_SECONDS)
    # A single transaction: a concurrent process waits for the lock and finds nothing left to do.
    with closing(patient), patient.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
