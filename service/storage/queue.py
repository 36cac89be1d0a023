"""Queues of waiting jobs by device, ordered by descending priority, then age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, func, select

from service import errors, retry_after
from service.specs.job import JobStatus
from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.tables import jobs

QUEUED = jobs.c.status == JobStatus.QUEUED
# All statements are built once. They seek in the index of the queue, which has the columns of this order:
# status, device, descending priority, sequence.
LENGTH = select(func.count()).where(QUEUED)
_LEAST = select(func.min(jobs.c.device).label("device")).where(QUEUED).cte("devices", recursive=True)
_NEXT = select(func.min(jobs.c.device)).where(QUEUED, jobs.c.device > _LEAST.c.device).scalar_subquery()
# The devices of queued jobs, then null: a DISTINCT would pass through the whole queue.
DEVICES = select(_LEAST.union_all(select(_NEXT).where(_LEAST.c.device.is_not(None))).c.device)

_COMPETING = and_(QUEUED, jobs.c.device.in_(bindparam("devices", expanding=True)))
_SAME_PRIORITY = and_(_COMPETING, jobs.c.priority == bindparam("priority"))
_HIGHER = select(func.count()).where(_COMPETING, jobs.c.priority > bindparam("priority")).scalar_subquery()
_EARLIER = select(func.count()).where(_SAME_PRIORITY, jobs.c.sequence < bindparam("first")).scalar_subquery()
_NUMBERED = (
    select(jobs.c.sequence, func.row_number().over(order_by=jobs.c.sequence).label("number"))
    .where(_SAME_PRIORITY, jobs.c.sequence.between(bindparam("first"), bindparam("last")))
    .subquery()
)
POSITIONS = select(_NUMBERED.c.sequence, (_HIGHER + _EARLIER + _NUMBERED.c.number).label("position")).where(
    _NUMBERED.c.sequence.in_(bindparam("sequences", expanding=True))
)


FIRST = (
    select(jobs.c.processes, jobs.c.min_processes)
    .where(QUEUED, jobs.c.device == bindparam("device"))
    .order_by(jobs.c.priority.desc(), jobs.c.sequence)
    .limit(1)
)


@dataclass(frozen=True)
class ParallelJob:
    """A queued job that several processes train.

    Attributes:
        processes: The number of processes.
        min_processes: The least number with which it may start.
    """

    processes: int
    min_processes: int


class QueueStore:
    """Queued jobs of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self, job: Job) -> int | None:
        """Return the position of a job in its device's queue, from 1; None if it is not queued."""
        return self.positions([job]).get(job.id)

    def positions(self, page: Sequence[Job]) -> Mapping[str, int]:
        """Return the positions of jobs by id, without those that are not queued.

        The queue is counted once for each device and priority, not for each job: jobs of a page are close to
        each other in it.
        """
        groups: dict[tuple[str, int], list[Job]] = {}
        for job in page:
            if job.status is JobStatus.QUEUED:
                groups.setdefault((job.device, job.priority), []).append(job)
        if not groups:
            return {}
        found: dict[int, int] = {}
        with self._database.read() as connection:
            devices = connection.scalars(DEVICES).all()
            for (device, priority), queued in groups.items():
                sequences = [job.sequence for job in queued]
                values = {
                    "devices": [each for each in devices if each is not None and _compete(each, device)],
                    "priority": priority,
                    "first": min(sequences),
                    "last": max(sequences),
                    "sequences": sequences,
                }
                found |= {row.sequence: row.position for row in connection.execute(POSITIONS, values)}
        return {job.id: found[job.sequence] for job in page if job.sequence in found}

    def first_parallel(self, device: str) -> "ParallelJob | None":
        """Return how many processes the first job of a queue needs; None unless it needs several."""
        with self._database.read() as connection:
            first = connection.execute(FIRST, {"device": device}).one_or_none()
        return None if first is None or first.processes == 1 else ParallelJob(*first)

    def lengths(self) -> Mapping[str, int]:
        """Return the number of queued jobs by device, without devices that have none."""
        query = select(jobs.c.device, func.count().label("length")).where(QUEUED).group_by(jobs.c.device)
        with self._database.read() as connection:
            return {row.device: row.length for row in connection.execute(query)}


def _compete(device: str, other: str) -> bool:
    """Return whether the same workers claim jobs of both queues: those of `cuda:0` also claim for `cuda`."""
    return device == other or device.startswith(f"{other}:") or other.startswith(f"{device}:")


def check_length(connection: Connection, limit: int) -> None:
    """Refuse a job if the queue has reached its maximum length.

    On Postgres, concurrent submissions don't see each other, so the limit may be exceeded slightly.

    Raises:
        QueueFull: If as many jobs are queued as allowed.
    """
    length = connection.scalars(LENGTH).one()
    if length >= limit:
        raise errors.QueueFull(
            f"{length} jobs are already queued.", retry_after_seconds=retry_after.QUEUE_FULL_SECONDS
        )
