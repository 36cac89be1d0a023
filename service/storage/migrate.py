"""Schema migrations; only the process that starts a service imports alembic."""

from contextlib import closing
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError

from service.errors import Unavailable
from service.storage.database import Database
from service.storage.database_faults import may_pass, unusable

log = structlog.get_logger()

RETRY_SECONDS = 1.0
# Building an index over all jobs may take long.
STATEMENT_SECONDS = 600.0
MIGRATION_LOCK = 0x46495453  # arbitrary key that no other program locks in this Postgres database


def migrate(database: Database, revision: str = "head") -> None:
    """Migrate the schema to a revision, by default the newest; safe to call from several processes.

    Raises:
        Unavailable: The database can't be used now, which may pass.
        StartError: It can't be used until something is changed.
    """
    try:
        _migrate(database, revision)
    except Unavailable as error:
        if error.__cause__ is None or may_pass(error.__cause__):
            raise
        raise unusable(database.url, error.__cause__) from error
    except (SQLAlchemyError, CommandError, OSError) as error:
        raise unusable(database.url, error) from error


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
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
