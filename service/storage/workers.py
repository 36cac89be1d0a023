"""Workers: who is there to run jobs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, bindparam, select

from service.storage.database import Database
from service.storage.tables import workers
from service.storage.timestamp import MICROSECOND, from_now, now

# A worker that has missed so many heartbeats is taken for gone.
MISSED_HEARTBEATS = 3
FORGET_AFTER = timedelta(days=1)
# Built once: each check of a request asks it.
ALIVE = (
    select(workers)
    .where(workers.c.heartbeat_at >= from_now(bindparam("period", type_=BigInteger)))
    .order_by(workers.c.started_at, workers.c.id)
)


@dataclass(frozen=True)
class NewWorker:
    """A worker that starts."""

    id: str
    device: str
    device_name: str | None
    threads: int
    hostname: str
    pid: int


@dataclass(frozen=True)
class Worker(NewWorker):
    """A row of the table `workers`."""

    started_at: datetime
    heartbeat_at: datetime


class WorkerStore:
    """The workers of all service processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, worker: NewWorker) -> None:
        """Add a worker, and forget those that died long ago without a word."""
        with self._database.write() as connection:
            connection.execute(workers.delete().where(workers.c.heartbeat_at < from_now(-FORGET_AFTER)))
            connection.execute(workers.insert().values(**vars(worker), started_at=now(), heartbeat_at=now()))

    def heartbeat(self, worker_id: str) -> None:
        """Note that a worker is alive."""
        with self._database.write() as connection:
            connection.execute(workers.update().where(workers.c.id == worker_id).values(heartbeat_at=now()))

    def unregister(self, worker_ids: Collection[str]) -> None:
        """Remove workers; one that is gone already is no error."""
        with self._database.write() as connection:
            connection.execute(workers.delete().where(workers.c.id.in_(worker_ids)))

    def alive(self, heartbeat_seconds: float) -> Sequence[Worker]:
        """The workers that were heard of lately, in the order they started.

        Args:
            heartbeat_seconds: how often they say that they are alive.
        """
        period = timedelta(seconds=-MISSED_HEARTBEATS * heartbeat_seconds)
        with self._database.read() as connection:
            rows = connection.execute(ALIVE, {"period": period // MICROSECOND})
            return [Worker(**row._mapping) for row in rows]
