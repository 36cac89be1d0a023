"""Fixtures of the store tests, which run on SQLite and on a real Postgres."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.storage.claims import ClaimStore
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.jobs import JobStore
from service.storage.migrate import migrate
from service.storage.planned_job import PlannedJob
from service.storage.queue import QueueStore
from service.storage.recovery import RecoveryStore
from service.storage.tables import metadata
from tests.support.postgres import Postgres, running_postgres
from tests.support.records import OWNER, Submit, new_dataset, new_job

DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres server for the test run."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The URL of a Postgres database with tables."""
    url = postgres.new_database("stores")
    database = Database(url)
    migrate(database)
    database.close()
    return url


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'fitserve.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database("empty")


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with empty tables."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'fitserve.db'}")
        migrate(database)
    else:
        database = Database(request.getfixturevalue("migrated_postgres"))
        with database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    """The store of jobs."""
    return JobStore(database)


@pytest.fixture
def claims(database: Database) -> ClaimStore:
    """The store of claims."""
    return ClaimStore(database)


@pytest.fixture
def queue(database: Database) -> QueueStore:
    """The store of the queue."""
    return QueueStore(database)


@pytest.fixture
def recovery(database: Database) -> RecoveryStore:
    """The store that reclaims jobs."""
    return RecoveryStore(database)


@pytest.fixture
def datasets(database: Database) -> DatasetStore:
    """The store of datasets."""
    return DatasetStore(database)


@pytest.fixture
def submit(jobs: JobStore) -> Submit:
    """A function that submits a job with some fields changed."""
    return lambda **changes: jobs.submit(OWNER, PlannedJob(new_job(**changes), new_dataset()))[0]
