"""Recovery: jobs are reclaimed from workers that are lost, or that were killed.

running ──reclaim──▶ queued      to continue from the newest checkpoint
                   ▶ paused      if its owner has requested a pause
                   ▶ cancelled   if its owner has requested a cancel
                   ▶ failed      if workers were lost repeatedly

A reclaimed job is reset to its newest checkpoint, and later history is deleted. So the record of a job that
is queued or has ended always describes the parameters of that checkpoint.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Update, and_, case, false, func, or_, select

from service import errors
from service.history import HistoryChunk, epoch_document
from service.specs.job import JobStatus, LogLevel, StopReason
from service.storage.database import Database
from service.storage.job_record import job_update, lock_jobs, to_status, to_stop_reason
from service.storage.json_text import json_text
from service.storage.logs import NewLine, add_lines
from service.storage.tables import checkpoints, history, jobs
from service.storage.timestamp import now

# Number of workers lost since a job's newest checkpoint at which the job fails.
MAX_WORKERS_LOST = 2
SILENT = "It stopped responding and its lease expired."
OVERRUN = "Worker killed: `max_runtime_seconds` expired within a step."

NEWEST_CHECKPOINT = (
    select(func.max(checkpoints.c.epoch)).where(checkpoints.c.job_id == jobs.c.id).scalar_subquery()
)
# Values that reset a job to its newest checkpoint; `truncate_history` does the rest.
AT_CHECKPOINT = {
    "epoch": func.coalesce(NEWEST_CHECKPOINT, 0),
    "latest": case((NEWEST_CHECKPOINT.is_not(None), jobs.c.latest)),
    "best": case((NEWEST_CHECKPOINT.is_not(None), jobs.c.best)),
}


class RecoveryStore:
    """Jobs from the point of view of the processes that supervise workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def release_workers(self, worker_ids: Collection[str], reason: str | None = None) -> Sequence[str]:
        """Reclaim all jobs of workers that have ended; return the ids of the jobs.

        Args:
            worker_ids: Workers, which have ended.
            reason: How they were lost, as a sentence; None for an orderly end, which counts against no job.
        """
        return reclaim(self._database, _held_by(worker_ids), reason or "", lost=reason is not None)

    def expire(self) -> Sequence[str]:
        """Reclaim all jobs whose lease has expired; return their ids.

        Leases that expire while this call waits for the database are left alone, as are those that expire
        while this process is suspended and holds the SQLite lock: workers may have been unable to renew them.
        """
        running = jobs.c.status == JobStatus.RUNNING
        query = select(now()).where(running, jobs.c.lease_expires_at < now()).limit(1)
        with self._database.read() as connection:  # a scan that finds nothing locks nothing
            moment = connection.scalar(query)
        if moment is None:
            return []
        return reclaim(self._database, and_(running, jobs.c.lease_expires_at < moment), SILENT, lost=True)

    def to_cancel(self, worker_ids: Collection[str]) -> set[str]:
        """Return those of the workers whose job has a cancel request."""
        query = select(jobs.c.worker_id).where(_held_by(worker_ids), jobs.c.cancel_requested)
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def overrun(self, worker_id: str, job_id: str) -> Sequence[str]:
        """End a job whose worker was killed because `max_runtime_seconds` expired.

        The job succeeds with its newest checkpoint; without a checkpoint it fails.

        Returns:
            The job's id, or nothing if the worker did not hold the job.
        """
        saved = NEWEST_CHECKPOINT.is_not(None)
        statement = job_update(
            status=case((saved, to_status(JobStatus.SUCCEEDED)), else_=to_status(JobStatus.FAILED)),
            stop_reason=StopReason.MAX_RUNTIME,
            error=case((~saved, _problem_json(errors.RuntimeTooShort()))),
            finished_at=now(),
            lease_expires_at=None,
            pause_requested=false(),
            **AT_CHECKPOINT,
        )
        with self._database.write() as connection:
            reclaimed = _change(connection, statement, and_(_held_by([worker_id]), jobs.c.id == job_id))
            add_lines(connection, [_line(row, OVERRUN, LogLevel.WARNING) for row in reclaimed])
        return [row.id for row in reclaimed]


def reclaim(
    database: Database, condition: ColumnElement[bool], reason: str = "", *, lost: bool = False
) -> Sequence[str]:
    """Queue running jobs again; end those with a cancel request and those that lost too many workers.

    Args:
        database: Database of the jobs.
        condition: Condition that selects the jobs.
        reason: Reason, as a sentence for the jobs' logs.
        lost: Whether their worker was lost, which counts against the jobs.

    Returns:
        Ids of the jobs.
    """
    workers_lost = jobs.c.workers_lost + int(lost)
    too_many = workers_lost >= MAX_WORKERS_LOST
    ends = or_(jobs.c.cancel_requested, too_many)
    failure = errors.WorkerLost(
        f"The job's worker was lost {MAX_WORKERS_LOST} times in a row, without a new checkpoint in between. "
        f"Last loss: {reason}"
    )
    statement = job_update(
        status=case(
            (jobs.c.cancel_requested, to_status(JobStatus.CANCELLED)),
            (too_many, to_status(JobStatus.FAILED)),
            (jobs.c.pause_requested, to_status(JobStatus.PAUSED)),
            else_=to_status(JobStatus.QUEUED),
        ),
        stop_reason=case(
            (jobs.c.cancel_requested, to_stop_reason(StopReason.CANCELLED)),
            (too_many, to_stop_reason(StopReason.ERROR)),
        ),
        error=case((and_(too_many, ~jobs.c.cancel_requested), _problem_json(failure))),
        finished_at=case((ends, now())),
        workers_lost=workers_lost,
        worker_id=None,
        lease_expires_at=None,
        pause_requested=false(),
        **AT_CHECKPOINT,
    )
    with database.write() as connection:
        reclaimed = _change(connection, statement, condition)
        why = f"Worker lost. {reason}" if lost else reason
        level = LogLevel.WARNING if lost else LogLevel.INFO
        add_lines(connection, [_line(row, why, level) for row in reclaimed])
    return [row.id for row in reclaimed]


def _change(connection: Connection, statement: Update, condition: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Update the jobs of a condition and reset them to their newest checkpoints; return their rows."""
    locked = lock_jobs(connection, condition)
    if not locked:
        return []
    reclaimed = connection.execute(statement.where(jobs.c.sequence.in_(locked)).returning(jobs)).all()
    truncate_history(connection, reclaimed)
    return reclaimed


def _line(row: Row[Any], reason: str, level: LogLevel) -> NewLine:
    """Return the log entry of a reclaimed job."""
    level = LogLevel.ERROR if row.status is JobStatus.FAILED else level
    return NewLine(
        row.id, row.attempt, f"{reason} Status: {row.status}, at epoch {row.epoch}.".strip(), level
    )


def truncate_history(connection: Connection, reset: Iterable[Row[Any]]) -> None:
    """Delete history, latest and best values of jobs beyond their epoch.

    Args:
        connection: Connection whose transaction has set the epoch to that of the newest checkpoint.
        reset: Current rows of the jobs.
    """
    for row in reset:
        connection.execute(
            history.delete().where(history.c.job_id == row.id, history.c.last_epoch > row.epoch)
        )
        values: dict[str, Any] = {}
        if row.latest is not None and _epoch(row.latest) > row.epoch:
            values["latest"] = _values_at(connection, row.id, row.epoch)
        if row.best is not None and _epoch(row.best) > row.epoch:
            values["best"] = None  # the next attempt reads it from its checkpoint
        if values:
            connection.execute(jobs.update().where(jobs.c.id == row.id).values(values))


def _epoch(document: str) -> int:
    return int(orjson.loads(document)["epoch"])


def _values_at(connection: Connection, job_id: str, epoch: int) -> str | None:
    """Return an epoch's values as JSON; None unless the history ends with this epoch."""
    last = select(history).where(history.c.job_id == job_id, history.c.last_epoch == epoch)
    row = connection.execute(last).one_or_none()
    if row is None:
        return None
    chunk = HistoryChunk.unpack(row.first_epoch, row.payload)
    values = dict(zip(chunk.columns, chunk.values[:, -1].tolist(), strict=True))
    return json_text(epoch_document(epoch, values))


def _held_by(worker_ids: Collection[str]) -> ColumnElement[bool]:
    return and_(jobs.c.status == JobStatus.RUNNING, jobs.c.worker_id.in_(worker_ids))


def _problem_json(error: errors.FitserveError) -> ColumnElement[str]:
    """Return the problem document of an error as JSON, with each job's path as its `instance`."""
    placeholder = "{job_id}"
    return func.replace(json_text(error.document(f"/v1/jobs/{placeholder}")), placeholder, jobs.c.id)
