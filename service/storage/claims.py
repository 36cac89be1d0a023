"""Claims: a worker takes a job, holds it by a lease, writes what it trained, and ends it or gives it back.

    queued ──claim──▶ running ──finish──▶ succeeded, failed, cancelled
       ▲                 │
       └──── release ────┘   `recovery` does so for a worker that was lost

A claim is the fencing token of its attempt: each write names it, and is refused once the job was taken back,
so that a worker that was thought dead can't write beside its successor.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, case, exists, false, func, or_, select, tuple_
from sqlalchemy.sql.dml import ReturningUpdate

from service.specs.job import JobStatus, LogLevel, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.database import Database
from service.storage.history import HistoryRow
from service.storage.job_record import Job, job_update, lock_jobs
from service.storage.logs import NewLine, add_lines
from service.storage.recovery import AT_CHECKPOINT, NEWEST_CHECKPOINT, forget_beyond, take_back
from service.storage.statements import (
    ADD_CHECKPOINTS,
    ADD_HISTORY,
    END,
    FORGET_DROPPED,
    FORGET_REPLACED,
    HAVE_CHECKPOINTS,
    RECORD,
    SIGNALS,
    held,
)
from service.storage.tables import checkpoints, jobs
from service.storage.timestamp import from_now, now


class LeaseLost(Exception):
    """The job was taken back from this worker: it must stop, and nothing it writes is kept."""


@dataclass(frozen=True)
class Claim:
    """One attempt at a job by one worker."""

    job_id: str
    worker_id: str
    attempt: int

    @classmethod
    def of(cls, job: Job) -> "Claim":
        """The claim of a job that `ClaimStore.claim` gave."""
        return cls(job.id, str(job.worker_id), job.attempt)

    def holds(self) -> ColumnElement[bool]:
        """The condition that the job is still this worker's."""
        return held(self.job_id, self.worker_id, self.attempt)

    def values(self) -> dict[str, Any]:
        """What statements ask for."""
        return {f"claim_{name}": value for name, value in vars(self).items()}

    def warnings(self, messages: Iterable[str]) -> Sequence[NewLine]:
        """Lines for the job's log, to be looked at."""
        return [self.line(message, LogLevel.WARNING) for message in messages]

    def line(self, message: str, level: LogLevel = LogLevel.INFO) -> NewLine:
        """A line for the job's log."""
        return NewLine(self.job_id, self.attempt, message, level)


@dataclass(frozen=True)
class Signals:
    """What the job's owner wants of it meanwhile."""

    cancel_requested: bool
    pause_requested: bool


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        epoch: the last one trained; None: as before.
        latest: JSON, its losses and metrics; None: as before.
        best: JSON, the best epoch and its values; None: as before.
        training_seconds: spent by all attempts; None: as before.
        epoch_seconds: what an epoch takes; None: as before.
    """

    epoch: int | None = None
    latest: str | None = None
    best: str | None = None
    training_seconds: float | None = None
    epoch_seconds: float | None = None

    def values(self) -> dict[str, Any]:
        """What statements ask for."""
        return {f"new_{name}": value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Report:
    """What a worker says of a job that goes on.

    Attributes:
        claim: the job's.
        progress: how far it is.
        rows: history beyond what was recorded.
        warnings: for its log.
    """

    claim: Claim
    progress: Progress
    rows: Iterable[HistoryRow] = ()
    warnings: Iterable[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: one that has ended.
        stop_reason: why.
        test: JSON, loss and metrics on the test rows.
        timings: JSON, what took how long.
        error: JSON, a problem in the shape of the API's errors.
    """

    status: JobStatus
    stop_reason: StopReason
    test: str | None = None
    timings: str | None = None
    error: str | None = None

    def values(self) -> dict[str, Any]:
        """What statements ask for."""
        return {f"new_{name}": value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Ending:
    """The end of a job.

    Attributes:
        claim: the job's.
        outcome: how it ended.
        progress: how far it came.
        rows: history beyond what was recorded.
        checkpoints: its last; their artifacts are already written.
        keep: the epochs at whose ends checkpoints stay beside these; None: all stay.
        warnings: for its log.
    """

    claim: Claim
    outcome: Outcome
    progress: Progress = Progress()
    rows: Sequence[HistoryRow] = ()
    checkpoints: Sequence[NewCheckpoint] = ()
    keep: Collection[int] | None = None
    warnings: Sequence[str] = ()

    def lines(self) -> Sequence[NewLine]:
        """What the job's log says of it."""
        outcome, claim = self.outcome, self.claim
        why = "" if outcome.error is None else f" {orjson.loads(outcome.error)['detail']}"
        level = LogLevel.INFO if outcome.error is None else LogLevel.ERROR
        end = claim.line(f"Ended: {outcome.status}, {outcome.stop_reason}.{why}", level)
        return [*claim.warnings(self.warnings), end]


class ClaimStore:
    """The jobs as the workers see them that hold them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, worker_id: str, devices: Collection[str], lease_seconds: float) -> Job | None:
        """Take the first job of some queues, if there is one: the highest priority, then the oldest.

        An earlier attempt's newest checkpoint is where this one goes on from: the job's `epoch` is the
        checkpoint's, and its history ends there.

        Args:
            worker_id: who takes it.
            devices: the queues it takes from.
            lease_seconds: how long the job is its own without a `renew`.
        """
        first = (
            select(jobs.c.sequence)
            .where(jobs.c.status == JobStatus.QUEUED, jobs.c.device.in_(devices))
            .order_by(jobs.c.priority.desc(), jobs.c.sequence)
            .limit(1)
        )
        with self._database.read() as connection:  # an idle worker takes no lock
            if connection.scalar(first) is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(_take(first, worker_id, lease_seconds)).one_or_none()
            if row is None:
                return None
            forget_beyond(connection, [row])
            job = Job.of_row(row)
            came = f", to go on from epoch {job.epoch}" if job.epoch else ""
            add_lines(connection, [Claim.of(job).line(f"Worker {worker_id} takes it{came}.")])
        return job

    def count_alike(self, job: Job, most: int) -> int:
        """How many further jobs `claim_alike` would take."""
        with self._database.read() as connection:
            return len(connection.scalars(_alike(job, most)).all())

    def claim_alike(self, job: Job, most: int, lease_seconds: float) -> Sequence[Job]:
        """Take further jobs that can train together with one that was claimed, the oldest first.

        Only jobs that nobody has tried yet: what has failed once runs by itself.

        Args:
            job: the one that was claimed.
            most: no more are taken.
            lease_seconds: as of `claim`.
        """
        with self._database.write() as connection:
            statement = _take(_alike(job, most), str(job.worker_id), lease_seconds)
            rows = connection.execute(statement).all()
            taken = sorted(map(Job.of_row, rows), key=lambda each: each.sequence)
            if taken:
                to_first = f"{len(taken)} other jobs of its kind train side by side with it."
                to_others = f"Worker {job.worker_id} takes it, to train side by side with {job.id}."
                lines = [Claim.of(job).line(to_first), *(Claim.of(each).line(to_others) for each in taken)]
                add_lines(connection, lines)
        return taken

    def renew(self, claims: Iterable[Claim], lease_seconds: float) -> dict[Claim, Signals]:
        """Extend leases; those that are lost are not in the answer."""
        are_held = or_(false(), *(claim.holds() for claim in claims))
        renewal = (
            jobs.update()  # no new version: clients see no leases
            .values(lease_expires_at=from_now(timedelta(seconds=lease_seconds)))
            .returning(jobs.c.id, jobs.c.worker_id, jobs.c.attempt, *SIGNALS)
        )
        with self._database.write() as connection:
            renewed = connection.execute(renewal.where(jobs.c.sequence.in_(lock_jobs(connection, are_held))))
            return {Claim(*row[:3]): Signals(*row[3:]) for row in renewed}

    def record(self, report: Report) -> Signals:
        """Add to the history and note how far the job is.

        Raises:
            LeaseLost: when the job was taken back.
        """
        (signals,) = self.record_all([report])
        if signals is None:
            raise LeaseLost(report.claim)
        return signals

    def record_all(self, reports: Iterable[Report]) -> Sequence[Signals | None]:
        """Add to the history of several jobs, in one transaction; None for one that was taken back."""
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
        """Publish a checkpoint, in the place of an earlier one of the same step.

        Args:
            claim: the job's.
            checkpoint: its artifact is already written.
            keep: the epochs at whose ends checkpoints stay beside it; None: all stay.

        Returns:
            The names of the artifacts that nothing refers to any more.

        Raises:
            LeaseLost: when the job was taken back.
        """
        place = tuple_(checkpoints.c.epoch, checkpoints.c.step)
        as_new = exists().where(
            checkpoints.c.job_id == jobs.c.id, place >= (checkpoint.epoch, checkpoint.step)
        )
        with self._database.write() as connection:
            counted = job_update(workers_lost=case((as_new, jobs.c.workers_lost), else_=0))
            if connection.execute(counted.where(claim.holds())).rowcount == 0:
                raise LeaseLost(claim)
            forgotten = _forget_checkpoints(connection, claim.job_id, [checkpoint], keep)
            _add_checkpoints(connection, [(claim.job_id, checkpoint)])
            add_lines(connection, [claim.line(f"Saved {checkpoint.place}, in {checkpoint.bytes} bytes.")])
        return forgotten

    def finish(self, *endings: Ending) -> Sequence[str]:
        """End jobs, in one transaction, together with the last of their history and their last checkpoints.

        Returns:
            The names of the artifacts that nothing refers to any more.

        Raises:
            LeaseLost: when a job was taken back. Nothing is written then, of the others neither.
        """
        forgotten: list[str] = []
        with self._database.write() as connection:
            for ending in endings:
                values = ending.claim.values() | ending.progress.values() | ending.outcome.values()
                if connection.execute(END, values).rowcount == 0:
                    raise LeaseLost(ending.claim)
            have = set(connection.scalars(HAVE_CHECKPOINTS, {"job_ids": [e.claim.job_id for e in endings]}))
            for ending in endings:
                if (job_id := ending.claim.job_id) in have:
                    forgotten += _forget_checkpoints(connection, job_id, ending.checkpoints, ending.keep)
            _add_history(connection, [(e.claim.job_id, row) for e in endings for row in e.rows])
            _add_checkpoints(connection, [(e.claim.job_id, new) for e in endings for new in e.checkpoints])
            add_lines(connection, [line for ending in endings for line in ending.lines()])
        return forgotten

    def release(self, claim: Claim, reason: str = "") -> None:
        """Give a job back, to go on later: when it is resumed, where its owner wants a pause.

        Args:
            claim: the job's.
            reason: why, as a sentence for its log.

        Raises:
            LeaseLost: when the job was taken back before.
        """
        if not take_back(self._database, claim.holds(), reason):
            raise LeaseLost(claim)


def _alike(job: Job, most: int) -> Select[tuple[int]]:
    """The sequence numbers of queued jobs that can train together with one."""
    return (
        select(jobs.c.sequence)
        .where(
            jobs.c.status == JobStatus.QUEUED,
            jobs.c.device == job.device,
            jobs.c.priority == job.priority,
            jobs.c.group_key == job.group_key,
            jobs.c.attempt == 0,
            NEWEST_CHECKPOINT.is_(None),
            jobs.c.sequence > job.sequence,  # a group writes about its jobs in the order of `lock_jobs`
        )
        .order_by(jobs.c.sequence)
        .limit(most)
    )


def _take(which: Select[Any], worker_id: str, lease_seconds: float) -> ReturningUpdate[Any]:
    """The claim of the jobs whose sequence numbers are selected."""
    # Not a subquery, which Postgres may evaluate more than once and so lock more rows than its limit.
    taken = which.with_for_update(skip_locked=True).cte("taken")
    update = job_update(
        status=JobStatus.RUNNING,
        worker_id=worker_id,
        attempt=jobs.c.attempt + 1,
        started_at=func.coalesce(jobs.c.started_at, now()),
        lease_expires_at=from_now(timedelta(seconds=lease_seconds)),
        **AT_CHECKPOINT,
    )
    return update.where(jobs.c.sequence.in_(select(taken.c.sequence))).returning(jobs)


def _add_history(connection: Connection, rows: Sequence[tuple[str, HistoryRow]]) -> None:
    if rows:
        values = [vars(row) | {"job_id": job_id} for job_id, row in rows]
        connection.execute(ADD_HISTORY[connection.dialect.name], values)


def _add_checkpoints(connection: Connection, added: Sequence[tuple[str, NewCheckpoint]]) -> None:
    if added:
        values = [vars(checkpoint) | {"job_id": job_id} for job_id, checkpoint in added]
        connection.execute(ADD_CHECKPOINTS, values)


def _forget_checkpoints(
    connection: Connection, job_id: str, new: Sequence[NewCheckpoint], keep: Collection[int] | None
) -> Sequence[str]:
    """Forget a job's checkpoints that new ones replace; the names of their artifacts."""
    values = {"its_job_id": job_id, "places": [(checkpoint.epoch, checkpoint.step) for checkpoint in new]}
    if keep is None:
        return connection.scalars(FORGET_REPLACED, values).all()
    return connection.scalars(FORGET_DROPPED, values | {"keep": list(keep)}).all()
