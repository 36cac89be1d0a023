"""Bringing the tables to the newest version: only the process that starts a service needs alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url, text

from service.storage.database import Database

MIGRATION_LOCK = 0x46495453  # any number that no other program locks in this Postgres database


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the tables to a version, by default the newest; several processes may do so at once."""
    url = make_url(database.url)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # All of it is one transaction: whoever comes second waits, and finds the work done.
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
