"""Rows of the table `jobs`, and how they are updated and locked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, literal, select

from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.ids import new_id
from service.storage.pages import Cursor
from service.storage.tables import jobs
from service.storage.timestamp import at_this_moment


@dataclass(frozen=True)
class NewJob:
    """A job to submit.

    Attributes:
        name: Name chosen by the client.
        request: Request with all defaults filled in, as JSON.
        report: Preflight report, as JSON.
        used: Device, engine and threads that the job will run with, as JSON.
        device: Queue of the job: `cpu`, `cuda` or `cuda:N`.
        group_key: Jobs with equal keys may train in one group.
        parameter_count: Number of elements in the model's parameters.
        memory_estimate_bytes: Estimated memory of the training.
        epochs: Number of epochs to train for.
        priority: Priority in the queue; jobs with a higher one start first.
        warnings: Warnings about the request, as a JSON list of pointers and details.
        processes: Number of processes that train it.
        min_processes: The least number of processes that may train it.
        id: Id chosen by the service.
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
    warnings: str = "[]"
    processes: int = 1
    min_processes: int = 1
    id: str = field(default_factory=lambda: new_id("job"))


@dataclass(frozen=True)
class Job:
    """A row of the table `jobs`; JSON columns are text."""

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
    warnings: str
    processes: int
    min_processes: int

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Job":
        """Return the job of a row that has all columns, in the order of the table."""
        return cls(*row)

    def process_count(self, available: int) -> int:
        """Return the number of processes of an attempt.

        After a loss, a job that can do with fewer processes does: a lost machine doesn't come back at once.

        Args:
            available: Number of workers that can train it.
        """
        return max(self.min_processes, min(available, self.processes - self.workers_lost))

    @property
    def cursor(self) -> Cursor:
        """Position in lists."""
        return Cursor(self.created_at, self.id)


@dataclass(frozen=True)
class StartingPoint:
    """Starting point of a job that continues another job or starts with its parameters.

    Attributes:
        job_id: Id of the other job.
        checkpoint: First checkpoint of the new job, already written; history is copied up to it.
    """

    job_id: str
    checkpoint: NewCheckpoint


def job_update(**values: Any) -> Update:
    """Return an update of jobs that is visible to clients: it increments the version."""
    return jobs.update().values(version=jobs.c.version + 1, changed_at=at_this_moment(), **values)


def to_status(status: JobStatus) -> ColumnElement[JobStatus]:
    """Return a status as an expression for `case`."""
    return literal(status, jobs.c.status.type)


def to_stop_reason(reason: StopReason) -> ColumnElement[StopReason]:
    """Return a stop reason as an expression for `case`."""
    return literal(reason, jobs.c.stop_reason.type)


def lock_jobs(connection: Connection, condition: ColumnElement[bool]) -> Sequence[int]:
    """Lock the jobs of a condition until the transaction ends; return their sequence numbers.

    On Postgres (isolation READ COMMITTED), an update that waited for a row lock re-reads that row, but sees
    other tables as of its start; statements that follow this one see all tables as they are now. Locking in
    the order of sequence numbers prevents deadlocks.
    """
    matching = select(jobs.c.sequence).where(condition).order_by(jobs.c.sequence)
    return connection.scalars(matching.with_for_update()).all()
