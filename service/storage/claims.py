"""Claims: a worker claims a job, holds it by a lease, records its training, and finishes or releases it.

    queued ──claim──▶ running ──finish──▶ succeeded, failed, cancelled
       ▲                 │
       └──── release ────┘   `recovery` reclaims the jobs of lost workers

A claim is the fencing token of its attempt: every write names it, and fails once the job was reclaimed. So a
worker that was wrongly considered dead can't write concurrently with its successor.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, false, func, or_, select, tuple_
from sqlalchemy.sql.dml import ReturningUpdate

from service.specs.job import JobStatus, LogLevel, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.database import Database
from service.storage.history import HistoryRow
from service.storage.job_record import Job, job_update, lock_jobs
from service.storage.logs import NewLine, add_lines
from service.storage.recovery import AT_CHECKPOINT, NEWEST_CHECKPOINT, reclaim, truncate_history
from service.storage.statements import (
    ADD_CHECKPOINTS,
    ADD_HISTORY,
    DELETE_DROPPED,
    DELETE_REPLACED,
    END,
    JOBS_WITH_CHECKPOINTS,
    RECORD,
    SIGNALS,
    held,
)
from service.storage.tables import checkpoints, jobs
from service.storage.timestamp import from_now, now


class LeaseLost(Exception):
    """The job was reclaimed from this worker, which must stop; none of its writes are kept."""


@dataclass(frozen=True)
class Claim:
    """One attempt at a job by one worker."""

    job_id: str
    worker_id: str
    attempt: int

    @classmethod
    def of(cls, job: Job) -> "Claim":
        """Return the claim of a job that `ClaimStore.claim` returned."""
        return cls(job.id, str(job.worker_id), job.attempt)

    def holds(self) -> ColumnElement[bool]:
        """Return the condition that this claim still holds the job."""
        return held(self.job_id, self.worker_id, self.attempt)

    def values(self) -> dict[str, Any]:
        """Return the values of the statements' bind parameters."""
        return {f"claim_{name}": value for name, value in vars(self).items()}

    def warnings(self, messages: Iterable[str]) -> Sequence[NewLine]:
        """Return warnings for the job's log."""
        return [self.line(message, LogLevel.WARNING) for message in messages]

    def line(self, message: str, level: LogLevel = LogLevel.INFO) -> NewLine:
        """Return an entry for the job's log."""
        return NewLine(self.job_id, self.attempt, message, level)


@dataclass(frozen=True)
class Signals:
    """Requests by the job's owner that the worker has to obey."""

    cancel_requested: bool
    pause_requested: bool


@dataclass(frozen=True)
class Progress:
    """Progress of a job; None leaves a column unchanged.

    Attributes:
        epoch: Last completed epoch.
        latest: Losses and metrics of that epoch, as JSON.
        best: The best epoch and its values, as JSON.
        training_seconds: Training time of all attempts.
        epoch_seconds: Duration of an epoch.
    """

    epoch: int | None = None
    latest: str | None = None
    best: str | None = None
    training_seconds: float | None = None
    epoch_seconds: float | None = None

    def values(self) -> dict[str, Any]:
        """Return the values of the statements' bind parameters."""
        return {f"new_{name}": value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Report:
    """Update of a running job.

    Attributes:
        claim: Claim of the job.
        progress: Progress to record.
        rows: History rows to append.
        warnings: Warnings for the job's log.
    """

    claim: Claim
    progress: Progress
    rows: Iterable[HistoryRow] = ()
    warnings: Iterable[str] = ()


@dataclass(frozen=True)
class Outcome:
    """Outcome of a job.

    Attributes:
        status: Final status.
        stop_reason: Why the job ended.
        test: Loss and metrics on the test rows, as JSON.
        timings: Duration of each phase, as JSON.
        error: Problem document (RFC 9457), as JSON.
    """

    status: JobStatus
    stop_reason: StopReason
    test: str | None = None
    timings: str | None = None
    error: str | None = None

    def values(self) -> dict[str, Any]:
        """Return the values of the statements' bind parameters."""
        return {f"new_{name}": value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Ending:
    """Final update of a job.

    Attributes:
        claim: Claim of the job.
        outcome: Outcome of the job.
        progress: Final progress.
        rows: History rows to append.
        checkpoints: Last checkpoints, whose artifacts are already written.
        keep: Epochs whose checkpoints are kept beside these; None keeps all.
        warnings: Warnings for the job's log.
    """

    claim: Claim
    outcome: Outcome
    progress: Progress = Progress()
    rows: Sequence[HistoryRow] = ()
    checkpoints: Sequence[NewCheckpoint] = ()
    keep: Collection[int] | None = None
    warnings: Sequence[str] = ()

    def lines(self) -> Sequence[NewLine]:
        """Return the entries for the job's log."""
        outcome, claim = self.outcome, self.claim
        why = "" if outcome.error is None else f" {orjson.loads(outcome.error)['detail']}"
        level = LogLevel.INFO if outcome.error is None else LogLevel.ERROR
        end = claim.line(f"Ended: {outcome.status}, {outcome.stop_reason}.{why}", level)
        return [*claim.warnings(self.warnings), end]


class ClaimStore:
    """Jobs from the point of view of the workers that claim them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self, worker_id: str, devices: Collection[str], lease_seconds: float, processes: int = 1
    ) -> Job | None:
        """Claim the first job of some queues, by descending priority, then age; None if they are empty.

        The attempt continues from the newest checkpoint of earlier attempts: `epoch` is set to the
        checkpoint's epoch, and the history is truncated there.

        Args:
            worker_id: Worker that claims the job.
            devices: Devices whose queues are considered.
            lease_seconds: Time until the lease expires without a `renew`.
            processes: Number of processes that can train the job. If several, only a job for several
                processes is claimed.
        """
        suits = jobs.c.processes == 1
        if processes > 1:
            suits = and_(jobs.c.processes > 1, jobs.c.min_processes <= processes)
        first = (
            select(jobs.c.sequence)
            .where(jobs.c.status == JobStatus.QUEUED, jobs.c.device.in_(devices), suits)
            .order_by(jobs.c.priority.desc(), jobs.c.sequence)
            .limit(1)
        )
        with self._database.read() as connection:  # an idle worker locks nothing
            if connection.scalar(first) is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(_claim_selected(first, worker_id, lease_seconds)).one_or_none()
            if row is None:
                return None
            truncate_history(connection, [row])
            job = Job.of_row(row)
            continuing = f", continuing from epoch {job.epoch}" if job.epoch else ""
            count = job.process_count(processes)
            together = f", to train in {count} processes" if count > 1 else ""
            line = f"Claimed by worker {worker_id}{together}{continuing}."
            add_lines(connection, [Claim.of(job).line(line)])
        return job

    def count_alike(self, job: Job, limit: int) -> int:
        """Return the number of further jobs that `claim_alike` would claim, up to `limit`."""
        with self._database.read() as connection:
            return len(connection.scalars(_alike(job, limit)).all())

    def claim_alike(self, job: Job, limit: int, lease_seconds: float) -> Sequence[Job]:
        """Claim further jobs that can train in one group with a claimed job, oldest first.

        Only jobs without an earlier attempt are claimed: a job that was released or reclaimed runs alone.

        Args:
            job: The claimed job.
            limit: Maximum number of further jobs.
            lease_seconds: As for `claim`.
        """
        with self._database.write() as connection:
            statement = _claim_selected(_alike(job, limit), str(job.worker_id), lease_seconds)
            rows = connection.execute(statement).all()
            claimed = sorted(map(Job.of_row, rows), key=lambda each: each.sequence)
            if claimed:
                to_first = f"Training in a group with {len(claimed)} other job{'s' * (len(claimed) > 1)}."
                to_others = f"Claimed by worker {job.worker_id}, to train in a group with {job.id}."
                lines = [Claim.of(job).line(to_first), *(Claim.of(each).line(to_others) for each in claimed)]
                add_lines(connection, lines)
        return claimed

    def renew(self, claims: Iterable[Claim], lease_seconds: float) -> dict[Claim, Signals]:
        """Extend leases; lost claims are missing from the result."""
        are_held = or_(false(), *(claim.holds() for claim in claims))
        renewal = (
            jobs.update()  # the version stays the same: clients don't see leases
            .values(lease_expires_at=from_now(timedelta(seconds=lease_seconds)))
            .returning(jobs.c.id, jobs.c.worker_id, jobs.c.attempt, *SIGNALS)
        )
        with self._database.write() as connection:
            renewed = connection.execute(renewal.where(jobs.c.sequence.in_(lock_jobs(connection, are_held))))
            return {Claim(*row[:3]): Signals(*row[3:]) for row in renewed}

    def record(self, report: Report) -> Signals:
        """Append to the history of a job and record its progress.

        Raises:
            LeaseLost: If the job was reclaimed.
        """
        (signals,) = self.record_all([report])
        if signals is None:
            raise LeaseLost(report.claim)
        return signals

    def record_all(self, reports: Iterable[Report]) -> Sequence[Signals | None]:
        """Record several jobs in one transaction; the result is None for a job that was reclaimed."""
        found: list[Signals | None] = []
        written: list[Report] = []
        with self._database.write() as connection:
            for report in reports:
                values = report.claim.values() | report.progress.values()
                row = connection.execute(RECORD, values).one_or_none()
                found.append(None if row is None else Signals(*row))
                if row is not None:
                    written.append(report)
            _add_history(connection, [(each.claim.job_id, row) for each in written for row in each.rows])
            add_lines(connection, [line for each in written for line in each.claim.warnings(each.warnings)])
        return found

    def save_checkpoint(
        self, claim: Claim, checkpoint: NewCheckpoint, keep: Collection[int] | None = None
    ) -> Sequence[str]:
        """Publish a checkpoint, replacing one of the same epoch and step.

        Args:
            claim: Claim of the job.
            checkpoint: Checkpoint whose artifact is already written.
            keep: Epochs whose checkpoints are kept beside it; None keeps all.

        Returns:
            Names of the artifacts that no row refers to any longer.

        Raises:
            LeaseLost: If the job was reclaimed.
        """
        position = tuple_(checkpoints.c.epoch, checkpoints.c.step)
        as_new = exists().where(
            checkpoints.c.job_id == jobs.c.id, position >= (checkpoint.epoch, checkpoint.step)
        )
        with self._database.write() as connection:
            counted = job_update(workers_lost=case((as_new, jobs.c.workers_lost), else_=0))
            if connection.execute(counted.where(claim.holds())).rowcount == 0:
                raise LeaseLost(claim)
            unreferenced = _delete_checkpoints(connection, claim.job_id, [checkpoint], keep)
            _add_checkpoints(connection, [(claim.job_id, checkpoint)])
            add_lines(
                connection,
                [claim.line(f"Checkpoint saved: {checkpoint.position}, {checkpoint.bytes} bytes.")],
            )
        return unreferenced

    def finish(self, *endings: Ending) -> Sequence[str]:
        """Finish jobs in one transaction, with the end of their history and their last checkpoints.

        Returns:
            Names of the artifacts that no row refers to any longer.

        Raises:
            LeaseLost: If any of the jobs was reclaimed; nothing is written for the others either.
        """
        unreferenced: list[str] = []
        with self._database.write() as connection:
            for ending in endings:
                values = ending.claim.values() | ending.progress.values() | ending.outcome.values()
                if connection.execute(END, values).rowcount == 0:
                    raise LeaseLost(ending.claim)
            # Small jobs have no earlier checkpoints: one query replaces a delete for each of a group.
            job_ids = [ending.claim.job_id for ending in endings]
            with_checkpoints = set(connection.scalars(JOBS_WITH_CHECKPOINTS, {"job_ids": job_ids}))
            for ending in endings:
                if (job_id := ending.claim.job_id) in with_checkpoints:
                    unreferenced += _delete_checkpoints(connection, job_id, ending.checkpoints, ending.keep)
            _add_history(connection, [(e.claim.job_id, row) for e in endings for row in e.rows])
            _add_checkpoints(connection, [(e.claim.job_id, new) for e in endings for new in e.checkpoints])
            add_lines(connection, [line for ending in endings for line in ending.lines()])
        return unreferenced

    def release(self, claim: Claim, reason: str = "", *, lost: bool = False) -> None:
        """Release a job: it is queued again, or paused if its owner has requested that.

        Args:
            claim: Claim of the job.
            reason: Reason, as a sentence for the job's log.
            lost: Whether another worker that trained it was lost, which counts against the job.

        Raises:
            LeaseLost: If the job was reclaimed.
        """
        if not reclaim(self._database, claim.holds(), reason, lost=lost):
            raise LeaseLost(claim)


def _alike(job: Job, limit: int) -> Select[tuple[int]]:
    """Select the sequence numbers of queued jobs that can train in one group with `job`."""
    return (
        select(jobs.c.sequence)
        .where(
            jobs.c.status == JobStatus.QUEUED,
            jobs.c.device == job.device,
            jobs.c.priority == job.priority,
            jobs.c.group_key == job.group_key,
            jobs.c.attempt == 0,
            NEWEST_CHECKPOINT.is_(None),
            jobs.c.sequence > job.sequence,  # a group writes its jobs in the order of `lock_jobs`
        )
        .order_by(jobs.c.sequence)
        .limit(limit)
    )


def _claim_selected(which: Select[Any], worker_id: str, lease_seconds: float) -> ReturningUpdate[Any]:
    """Return the update that claims the jobs whose sequence numbers are selected."""
    # A CTE, because Postgres may evaluate a subquery repeatedly and so lock more rows than its limit.
    claimed = which.with_for_update(skip_locked=True).cte("claimed")
    update = job_update(
        status=JobStatus.RUNNING,
        worker_id=worker_id,
        attempt=jobs.c.attempt + 1,
        started_at=func.coalesce(jobs.c.started_at, now()),
        lease_expires_at=from_now(timedelta(seconds=lease_seconds)),
        **AT_CHECKPOINT,
    )
    return update.where(jobs.c.sequence.in_(select(claimed.c.sequence))).returning(jobs)


def _add_history(connection: Connection, rows: Sequence[tuple[str, HistoryRow]]) -> None:
    if rows:
        values = [vars(row) | {"job_id": job_id} for job_id, row in rows]
        connection.execute(ADD_HISTORY[connection.dialect.name], values)


def _add_checkpoints(connection: Connection, added: Sequence[tuple[str, NewCheckpoint]]) -> None:
    if added:
        values = [vars(checkpoint) | {"job_id": job_id} for job_id, checkpoint in added]
        connection.execute(ADD_CHECKPOINTS, values)


def _delete_checkpoints(
    connection: Connection, job_id: str, new: Sequence[NewCheckpoint], keep: Collection[int] | None
) -> Sequence[str]:
    """Delete a job's checkpoints that new ones replace; return the names of their artifacts."""
    values = {"its_job_id": job_id, "positions": [(checkpoint.epoch, checkpoint.step) for checkpoint in new]}
    if keep is None:
        return connection.scalars(DELETE_REPLACED, values).all()
    return connection.scalars(DELETE_DROPPED, values | {"keep": list(keep)}).all()
