"""Transactions, migrations and the clock, on each database."""

import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text

from service import errors
from service.storage.checkpoints import CheckpointStore
from service.storage.database import Database
from service.storage.jobs import JobStore
from service.storage.migrate import migrate
from service.storage.planned_job import PlannedJob
from service.storage.queue import QueueStore
from service.storage.tables import metadata
from service.storage.timestamp import from_now, now
from tests.support.records import OWNER, new_dataset, new_job

MIGRATE = (
    "import sys; from service.storage.database import Database; "
    "from service.storage.migrate import migrate; migrate(Database(sys.argv[1]))"
)


def test_migrations_create_the_tables(database: Database) -> None:
    """The migrations create exactly the tables that the stores use."""
    with database.read() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        checks = {check["name"] for check in inspect(connection).get_check_constraints("jobs")}
    assert checks == {"ck_jobs_status", "ck_jobs_stop_reason"}


def insert(connection: Connection, table: str, values: dict[str, Any]) -> None:
    """Insert a row into a table of any version."""
    slots = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({slots})"), values)


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
def test_an_upgrade_keeps_jobs(empty_url: str, revision: str) -> None:
    """A job of an older version keeps its checkpoint in an upgrade, and can be deleted afterwards."""
    database = Database(empty_url)
    migrate(database, revision)
    old = {"owner": OWNER, "dataset_id": "ds_1", "status": "succeeded", "created_at": 7}
    if revision > "0001":
        old["changed_at"] = 7
    values = asdict(new_job()) | old
    for later in ("warnings", "processes", "min_processes"):
        del values[later]
    row = {"job_id": values["id"], "epoch": 5, "artifact": "checkpoints/a", "bytes": 1, "created_at": 7}
    with database.write() as connection:
        insert(connection, "jobs", values)
        insert(connection, "checkpoints", row)
    migrate(database)
    job = JobStore(database).get(OWNER, values["id"])
    assert (job.changed_at, job.training_seconds, job.warnings) == (job.created_at, 0.0, "[]")
    (checkpoint,) = CheckpointStore(database).of_job(OWNER, job.id)
    assert (checkpoint.epoch, checkpoint.step, checkpoint.artifact) == (5, 0, "checkpoints/a")
    assert JobStore(database).delete(OWNER, job.id) == ["checkpoints/a"]
    with database.read() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM checkpoints")).scalar_one() == 0
    database.close()


def test_several_processes_migrate_at_once(empty_url: str) -> None:
    """Several processes that start on an empty database migrate it without an error."""
    started = [subprocess.Popen([sys.executable, "-c", MIGRATE, empty_url]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    database = Database(empty_url)
    assert QueueStore(database).lengths() == {}
    migrate(database)
    database.close()


def test_an_accepted_job_survives_a_restart(empty_url: str) -> None:
    """A job is unchanged when the database is opened again."""
    database = Database(empty_url)
    migrate(database)
    job, _ = JobStore(database).submit(OWNER, PlannedJob(new_job(), new_dataset()))
    database.close()
    reopened = Database(empty_url)
    assert JobStore(reopened).get(OWNER, job.id) == job
    reopened.close()


def test_an_exception_rolls_back_the_transaction(database: Database) -> None:
    """An exception undoes all writes of its transaction."""

    def fail() -> None:
        with database.write() as connection:
            connection.execute(text("CREATE TABLE undone (id INTEGER)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.read() as connection:
        assert not inspect(connection).has_table("undone")


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql+psycopg://nobody@127.0.0.1:1/none"]
)
def test_an_unreachable_database_is_unavailable(url: str) -> None:
    """An unreachable database raises `Unavailable` with a time to retry after."""
    with pytest.raises(errors.Unavailable) as refused, Database(url).read():
        pass
    assert refused.value.retry_after_seconds


def test_the_clock_of_the_database_is_utc(database: Database) -> None:
    """Times of the database are aware, in UTC and exact when a duration is added."""
    with database.read() as connection:
        past, present, future = connection.execute(
            select(from_now(timedelta(hours=-1)), now(), from_now(timedelta(seconds=30)))
        ).one()
        assert connection.scalar(select(from_now(timedelta(seconds=30)) >= future))
    assert (present - past, future - present) == (timedelta(hours=1), timedelta(seconds=30))
    assert present.tzinfo is UTC
    assert abs(datetime.now(UTC) - present) < timedelta(seconds=5)
