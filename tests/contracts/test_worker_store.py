"""The store of workers, on each database."""

from datetime import timedelta

from service.storage.database import Database
from service.storage.tables import workers as table
from service.storage.timestamp import from_now
from service.storage.workers import NewWorker, WorkerStore

WORKER = NewWorker("w", "cuda:0", "H200", threads=1, hostname="host", pid=1)


def test_a_worker_is_alive_after_a_heartbeat(database: Database) -> None:
    """A worker is alive until its heartbeat is too old, and again after the next heartbeat."""
    workers = WorkerStore(database)
    workers.register(WORKER)
    (worker,) = workers.alive(heartbeat_seconds=10)
    assert (worker.id, worker.device, worker.device_name) == (WORKER.id, WORKER.device, WORKER.device_name)
    with database.write() as connection:
        connection.execute(table.update().values(heartbeat_at=from_now(timedelta(hours=-1))))
    assert workers.alive(heartbeat_seconds=10) == []
    workers.heartbeat("w")
    (again,) = workers.alive(heartbeat_seconds=10)
    assert again.heartbeat_at >= again.started_at == worker.started_at


def test_an_unregistered_worker_is_not_alive(database: Database) -> None:
    """An unregistered worker is not alive; unregistering it again is no error."""
    workers = WorkerStore(database)
    workers.register(WORKER)
    workers.unregister(["w"])
    workers.unregister(["w"])
    assert workers.alive(heartbeat_seconds=10) == []
