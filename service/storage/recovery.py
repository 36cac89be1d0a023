"""Recovery: jobs are taken back from workers that are lost, or that won't let go of them.

running ──take back──▶ queued      to go on from the newest checkpoint
                     ▶ paused      where its owner asked for that
                     ▶ cancelled   where its owner asked for that
                     ▶ failed      where worker after worker was lost over it
"""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, and_, case, exists, false, func, literal, or_, select

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.database import Database
from service.storage.job_record import job_update
from service.storage.json_text import json_text
from service.storage.tables import checkpoints, jobs
from service.storage.timestamp import now

# The second worker that is lost over a job without a newer checkpoint in between is the last.
MOST_WORKERS_LOST = 2
SILENT = "It fell silent, and its lease ran out."


class RecoveryStore:
    """The jobs as the processes see them that look after workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def release_worker(self, worker_id: str, reason: str | None = None) -> Sequence[str]:
        """Take back all jobs of a worker; their ids.

        Args:
            worker_id: the worker, which is gone.
            reason: how it was lost, as a sentence; None: it was not, and no job is to blame.
        """
        return take_back(self._database, _held_by([worker_id]), reason)

    def expire(self) -> Sequence[str]:
        """Take back all jobs whose lease has run out; their ids."""
        expired = and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_expires_at < now())
        with self._database.read() as connection:  # a sweep that finds nothing takes no lock
            if connection.scalar(select(jobs.c.id).where(expired).limit(1)) is None:
                return []
        return take_back(self._database, expired, SILENT)

    def to_cancel(self, worker_ids: Collection[str]) -> set[str]:
        """Those of some workers whose job is to be cancelled."""
        query = select(jobs.c.worker_id).where(_held_by(worker_ids), jobs.c.cancel_requested)
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def overrun(self, worker_id: str) -> Sequence[str]:
        """End the jobs of a worker that was ended over their `max_runtime_seconds`; their ids.

        What they are left with is their newest checkpoint: without one they have failed.
        """
        saved = exists().where(checkpoints.c.job_id == jobs.c.id)
        statement = job_update(
            status=case((saved, _status(JobStatus.SUCCEEDED)), else_=_status(JobStatus.FAILED)),
            stop_reason=StopReason.MAX_RUNTIME,
            error=case((~saved, _about(errors.RuntimeTooShort()))),
            finished_at=now(),
            lease_expires_at=None,
            pause_requested=false(),
        )
        with self._database.write() as connection:
            return connection.scalars(statement.where(_held_by([worker_id])).returning(jobs.c.id)).all()


def take_back(
    database: Database, condition: ColumnElement[bool], lost_because: str | None = None
) -> Sequence[str]:
    """Queue running jobs again, or end those that are to be cancelled or have lost too many workers.

    Args:
        database: where they are.
        condition: which jobs.
        lost_because: how their worker was lost, as a sentence; None: it gave them back by itself.

    Returns:
        Their ids.
    """
    lost = jobs.c.workers_lost + int(lost_because is not None)
    too_many = lost >= MOST_WORKERS_LOST
    ends = or_(jobs.c.cancel_requested, too_many)
    failure = errors.WorkerLost(
        f"{MOST_WORKERS_LOST} times running the job's worker was lost, without a newer checkpoint in "
        f"between. The last time: {lost_because}"
    )
    statement = job_update(
        status=case(
            (jobs.c.cancel_requested, _status(JobStatus.CANCELLED)),
            (too_many, _status(JobStatus.FAILED)),
            (jobs.c.pause_requested, _status(JobStatus.PAUSED)),
            else_=_status(JobStatus.QUEUED),
        ),
        stop_reason=case(
            (jobs.c.cancel_requested, _stop_reason(StopReason.CANCELLED)),
            (too_many, _stop_reason(StopReason.ERROR)),
        ),
        error=case((and_(too_many, ~jobs.c.cancel_requested), _about(failure))),
        finished_at=case((ends, now())),
        workers_lost=lost,
        worker_id=None,
        lease_expires_at=None,
        pause_requested=false(),
    )
    with database.write() as connection:
        return connection.scalars(statement.where(condition).returning(jobs.c.id)).all()


def _held_by(worker_ids: Collection[str]) -> ColumnElement[bool]:
    return and_(jobs.c.status == JobStatus.RUNNING, jobs.c.worker_id.in_(worker_ids))


def _status(status: JobStatus) -> ColumnElement[JobStatus]:
    return literal(status, jobs.c.status.type)


def _stop_reason(reason: StopReason) -> ColumnElement[StopReason]:
    return literal(reason, jobs.c.stop_reason.type)


def _about(error: errors.FitserveError) -> ColumnElement[str]:
    """The error as JSON, about each job."""
    placeholder = "{job_id}"
    return func.replace(json_text(error.document(f"/v1/jobs/{placeholder}")), placeholder, jobs.c.id)
