"""Worker processes and their heartbeats."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, bindparam, select

from service.storage.database import Database
from service.storage.tables import workers
from service.storage.timestamp import MICROSECOND, from_now, now

# Number of missed heartbeats after which a worker is considered dead.
MISSED_HEARTBEATS = 3
FORGET_AFTER = timedelta(days=1)
# Built once: every check of a request runs it.
ALIVE = (
    select(workers)
    .where(workers.c.heartbeat_at >= from_now(bindparam("period", type_=BigInteger)))
    .order_by(workers.c.started_at, workers.c.id)
)


@dataclass(frozen=True)
class NewWorker:
    """A worker to register."""

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
    """Workers of all service processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, worker: NewWorker) -> None:
        """Insert a worker, and delete those that died long ago without unregistering."""
        with self._database.write() as connection:
            connection.execute(workers.delete().where(workers.c.heartbeat_at < from_now(-FORGET_AFTER)))
            connection.execute(workers.insert().values(**vars(worker), started_at=now(), heartbeat_at=now()))

    def heartbeat(self, worker_id: str) -> None:
        """Record that a worker is alive."""
        with self._database.write() as connection:
            connection.execute(workers.update().where(workers.c.id == worker_id).values(heartbeat_at=now()))

    def unregister(self, worker_ids: Collection[str]) -> None:
        """Delete workers; unknown ids are ignored."""
        with self._database.write() as connection:
            connection.execute(workers.delete().where(workers.c.id.in_(worker_ids)))

    def alive(self, heartbeat_seconds: float) -> Sequence[Worker]:
        """Return the workers with a recent heartbeat, in the order of their start.

        Args:
            heartbeat_seconds: Interval of heartbeats.
        """
        period = timedelta(seconds=-MISSED_HEARTBEATS * heartbeat_seconds)
        with self._database.read() as connection:
            rows = connection.execute(ALIVE, {"period": period // MICROSECOND})
            return [Worker(**row._mapping) for row in rows]
