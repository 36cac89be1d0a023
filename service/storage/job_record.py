"""What the table `jobs` holds, as Python sees it; and how a row of it is changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, literal, select

from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.ids import new_id
from service.storage.pages import Place
from service.storage.tables import jobs
from service.storage.timestamp import at_this_moment


@dataclass(frozen=True)
class NewJob:
    """A job to submit.

    Attributes:
        name: the client's name for it.
        request: JSON, what is to be done, with all defaults filled in.
        report: JSON, what the preflight found.
        used: JSON, the device, engine and threads it will run with.
        device: the queue it waits in: `cpu`, `cuda` or `cuda:N`.
        group_key: jobs of the same key may train together.
        parameter_count: of its model.
        memory_estimate_bytes: of its training.
        epochs: to train for.
        priority: of two jobs in a queue, the higher one goes first.
        id: made by the server.
    """

    name: str | None
    request: str
    report: str
    used: str
    device: str
    group_key: str
    parameter_count: int
    memory_estimate_bytes: int
    epochs: int
    priority: int = 0
    id: str = field(default_factory=lambda: new_id("job"))


@dataclass(frozen=True)
class Job:
    """A row of the table `jobs`; what is JSON there is its text."""

    sequence: int
    id: str
    owner: str
    name: str | None
    version: int
    status: JobStatus
    stop_reason: StopReason | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    priority: int
    dataset_id: str
    request: str
    report: str
    used: str
    device: str
    group_key: str
    parameter_count: int
    memory_estimate_bytes: int
    epoch: int
    epochs: int
    latest: str | None
    best: str | None
    test: str | None
    timings: str | None
    error: str | None
    attempt: int
    workers_lost: int
    worker_id: str | None
    lease_expires_at: datetime | None
    cancel_requested: bool
    pause_requested: bool
    training_seconds: float
    changed_at: datetime
    epoch_seconds: float | None

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Job":
        """The job of a row with all columns, in the table's order."""
        return cls(*row)

    @property
    def place(self) -> Place:
        """Its place in lists."""
        return Place(self.created_at, self.id)


@dataclass(frozen=True)
class Start:
    """Where a job begins that goes on from another one.

    Attributes:
        job_id: the other job.
        checkpoint: the new job's first, already written; it takes over the other's history up to there.
    """

    job_id: str
    checkpoint: NewCheckpoint


def job_update(**values: Any) -> Update:
    """An update of jobs that clients can see: their version grows."""
    return jobs.update().values(version=jobs.c.version + 1, changed_at=at_this_moment(), **values)


def to_status(status: JobStatus) -> ColumnElement[JobStatus]:
    """A status as one of several that an update may give."""
    return literal(status, jobs.c.status.type)


def to_stop_reason(reason: StopReason) -> ColumnElement[StopReason]:
    """A stop reason, in the same way."""
    return literal(reason, jobs.c.stop_reason.type)


def lock_jobs(connection: Connection, condition: ColumnElement[bool]) -> Sequence[int]:
    """Lock the jobs of a condition until the transaction ends; their sequence numbers.

    Statements after it find what belongs to these jobs as it is now: an update that has to wait for a row
    itself sees that anew, but the other tables as they were before. And all who lock several jobs do so in
    one order, or two could wait for each other.
    """
    matching = select(jobs.c.sequence).where(condition).order_by(jobs.c.sequence)
    return connection.scalars(matching.with_for_update()).all()
