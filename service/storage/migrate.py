"""Bringing the tables to the newest version: only the process that starts a service needs alembic."""

import threading
from contextlib import closing
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url, text

from service.errors import Unavailable
from service.storage.database import Database

log = structlog.get_logger()

RETRY_SECONDS = 1.0
# An index over all jobs may take its time.
STATEMENT_SECONDS = 600.0
MIGRATION_LOCK = 0x46495453  # any number that no other program locks in this Postgres database


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the tables to a version, by default the newest; several processes may do so at once."""
    url = make_url(database.url)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    patient = Database(database.url, STATEMENT_SECONDS)
    # All of it is one transaction: whoever comes second waits, and finds the work done.
    with closing(patient), patient.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def migrate_when_there(database: Database, stopping: threading.Event) -> bool:
    """Migrate as soon as the database is there; False when the process is to stop before."""
    while not stopping.is_set():
        try:
            migrate(database)
        except Unavailable as error:
            log.warning("the database is awaited", reason=error.detail)
            stopping.wait(RETRY_SECONDS)
        else:
            return True
    return False
