"""Recovery: jobs are taken back from workers that are lost, or that won't let go of them.

running ──take back──▶ queued      to go on from the newest checkpoint
                     ▶ paused      where its owner asked for that
                     ▶ cancelled   where its owner asked for that
                     ▶ failed      where worker after worker was lost over it

A job that is taken back is where its newest checkpoint is: what came after is forgotten, so that what is told
of it, waiting or ended, is what its model is.
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

# The second worker that is lost over a job without a newer checkpoint in between is the last.
MOST_WORKERS_LOST = 2
SILENT = "It fell silent, and its lease ran out."
OVERRUN = "Its worker was ended: `max_runtime_seconds` were over inside a step."

NEWEST_CHECKPOINT = (
    select(func.max(checkpoints.c.epoch)).where(checkpoints.c.job_id == jobs.c.id).scalar_subquery()
)
# What a job's columns hold that goes on, or has ended, with its newest checkpoint; see `forget_beyond`.
AT_CHECKPOINT = {
    "epoch": func.coalesce(NEWEST_CHECKPOINT, 0),
    "latest": case((NEWEST_CHECKPOINT.is_not(None), jobs.c.latest)),
    "best": case((NEWEST_CHECKPOINT.is_not(None), jobs.c.best)),
}


class RecoveryStore:
    """The jobs as the processes see them that look after workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def release_workers(self, worker_ids: Collection[str], reason: str | None = None) -> Sequence[str]:
        """Take back all jobs of workers; their ids.

        Args:
            worker_ids: the workers, which are gone.
            reason: how they were lost, as a sentence; None: they were not, and no job is to blame.
        """
        return take_back(self._database, _held_by(worker_ids), reason or "", lost=reason is not None)

    def expire(self) -> Sequence[str]:
        """Take back all jobs whose lease has run out; their ids.

        A lease that runs out while this waits for the database is left, and so is one that does while this is
        frozen and holds the lock of SQLite: perhaps nobody could renew it.
        """
        running = jobs.c.status == JobStatus.RUNNING
        query = select(now()).where(running, jobs.c.lease_expires_at < now()).limit(1)
        with self._database.read() as connection:  # a sweep that finds nothing takes no lock
            moment = connection.scalar(query)
        if moment is None:
            return []
        return take_back(self._database, and_(running, jobs.c.lease_expires_at < moment), SILENT, lost=True)

    def to_cancel(self, worker_ids: Collection[str]) -> set[str]:
        """Those of some workers whose job is to be cancelled."""
        query = select(jobs.c.worker_id).where(_held_by(worker_ids), jobs.c.cancel_requested)
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def overrun(self, worker_id: str, job_id: str) -> Sequence[str]:
        """End the job over whose `max_runtime_seconds` its worker was ended; its id, if the worker held it.

        What it is left with is its newest checkpoint: without one it has failed.
        """
        saved = NEWEST_CHECKPOINT.is_not(None)
        statement = job_update(
            status=case((saved, to_status(JobStatus.SUCCEEDED)), else_=to_status(JobStatus.FAILED)),
            stop_reason=StopReason.MAX_RUNTIME,
            error=case((~saved, _about(errors.RuntimeTooShort()))),
            finished_at=now(),
            lease_expires_at=None,
            pause_requested=false(),
            **AT_CHECKPOINT,
        )
        with self._database.write() as connection:
            taken = _change(connection, statement, and_(_held_by([worker_id]), jobs.c.id == job_id))
            add_lines(connection, [_line(row, OVERRUN, LogLevel.WARNING) for row in taken])
        return [row.id for row in taken]


def take_back(
    database: Database, condition: ColumnElement[bool], reason: str = "", *, lost: bool = False
) -> Sequence[str]:
    """Queue running jobs again, or end those that are to be cancelled or have lost too many workers.

    Args:
        database: where they are.
        condition: which jobs.
        reason: why they are taken back, as a sentence.
        lost: their worker was lost.

    Returns:
        Their ids.
    """
    workers_lost = jobs.c.workers_lost + int(lost)
    too_many = workers_lost >= MOST_WORKERS_LOST
    ends = or_(jobs.c.cancel_requested, too_many)
    failure = errors.WorkerLost(
        f"{MOST_WORKERS_LOST} times running the job's worker was lost, without a newer checkpoint in "
        f"between. The last time: {reason}"
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
        error=case((and_(too_many, ~jobs.c.cancel_requested), _about(failure))),
        finished_at=case((ends, now())),
        workers_lost=workers_lost,
        worker_id=None,
        lease_expires_at=None,
        pause_requested=false(),
        **AT_CHECKPOINT,
    )
    with database.write() as connection:
        taken = _change(connection, statement, condition)
        told = f"Its worker was lost. {reason}" if lost else reason
        level = LogLevel.WARNING if lost else LogLevel.INFO
        add_lines(connection, [_line(row, told, level) for row in taken])
    return [row.id for row in taken]


def _change(connection: Connection, statement: Update, condition: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Put the jobs of a condition where their newest checkpoints are; their rows."""
    locked = lock_jobs(connection, condition)
    if not locked:
        return []
    taken = connection.execute(statement.where(jobs.c.sequence.in_(locked)).returning(jobs)).all()
    forget_beyond(connection, taken)
    return taken


def _line(row: Row[Any], reason: str, level: LogLevel) -> NewLine:
    """What the log says of a job that was taken back."""
    level = LogLevel.ERROR if row.status is JobStatus.FAILED else level
    return NewLine(row.id, row.attempt, f"{reason} Now {row.status}, at epoch {row.epoch}.".strip(), level)


def forget_beyond(connection: Connection, taken: Iterable[Row[Any]]) -> None:
    """Let the history of jobs, and their latest and best values, end with their epoch.

    Args:
        connection: of the transaction that has set their epoch to their newest checkpoint's.
        taken: the jobs' rows, as they are now.
    """
    for row in taken:
        connection.execute(
            history.delete().where(history.c.job_id == row.id, history.c.last_epoch > row.epoch)
        )
        values: dict[str, Any] = {}
        if row.latest is not None and _epoch(row.latest) > row.epoch:
            values["latest"] = _values_at(connection, row.id, row.epoch)
        if row.best is not None and _epoch(row.best) > row.epoch:
            values["best"] = None  # the next attempt has it from its checkpoint
        if values:
            connection.execute(jobs.update().where(jobs.c.id == row.id).values(values))


def _epoch(document: str) -> int:
    return int(orjson.loads(document)["epoch"])


def _values_at(connection: Connection, job_id: str, epoch: int) -> str | None:
    """An epoch's values as JSON; None where the history doesn't end with it."""
    last = select(history).where(history.c.job_id == job_id, history.c.last_epoch == epoch)
    row = connection.execute(last).one_or_none()
    if row is None:
        return None
    chunk = HistoryChunk.unpack(row.first_epoch, row.payload)
    values = dict(zip(chunk.columns, chunk.values[:, -1].tolist(), strict=True))
    return json_text(epoch_document(epoch, values))


def _held_by(worker_ids: Collection[str]) -> ColumnElement[bool]:
    return and_(jobs.c.status == JobStatus.RUNNING, jobs.c.worker_id.in_(worker_ids))


def _about(error: errors.FitserveError) -> ColumnElement[str]:
    """The error as JSON, about each job."""
    placeholder = "{job_id}"
    return func.replace(json_text(error.document(f"/v1/jobs/{placeholder}")), placeholder, jobs.c.id)
