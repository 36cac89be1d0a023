"""Jobs from the point of view of their owners; see `claims` for that of the workers."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    false,
    insert,
    literal,
    or_,
    select,
    true,
)

from service import errors
from service.specs.job import JobEdit, JobStatus, LogLevel, StopReason
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.idempotency import IdempotencyKey, bind_key, job_of_key
from service.storage.job_record import Job, StartingPoint, job_update, to_status, to_stop_reason
from service.storage.logs import NewLine, add_lines
from service.storage.pages import ALWAYS, Cursor, Period, newest_first
from service.storage.parameter_sets import ParameterSetStore
from service.storage.planned_job import PlannedJob
from service.storage.queue import check_length
from service.storage.room import check_quota
from service.storage.tables import checkpoints, history, jobs
from service.storage.timestamp import now

# Built once: every status poll and every submission run these; building them takes as long as running them.
ONE_JOB = select(jobs).where(jobs.c.owner == bindparam("owner"), jobs.c.id == bindparam("job_id"))
ONE_JOB_LOCKED = ONE_JOB.with_for_update()
ADD = jobs.insert().values(status=JobStatus.QUEUED, created_at=now(), changed_at=now()).returning(*jobs.c)


_WAITING = [JobStatus.QUEUED, JobStatus.PAUSED]


class JobStore:
    """Jobs of all owners.

    Args:
        database: Database of the jobs.
        max_queue_length: Number of queued jobs from which on submissions are refused.
        idempotency_hours: Time for which an idempotency key is remembered.
        max_stored_bytes: Maximum size of everything that is stored; None for no limit.
    """

    def __init__(
        self,
        database: Database,
        max_queue_length: int = 10_000,
        idempotency_hours: float = 24.0,
        max_stored_bytes: int | None = None,
    ) -> None:
        self._database = database
        self._max_stored_bytes = max_stored_bytes
        self._max_queue_length = max_queue_length
        self._idempotency_period = timedelta(hours=idempotency_hours)

    def submit(self, owner: str, planned: PlannedJob) -> tuple[Job, bool]:
        """Queue a job durably, in one transaction.

        Args:
            owner: Owner of the job.
            planned: Rows to insert.

        Returns:
            The job, and whether it is new: a repeated idempotency key and fingerprint return the earlier job.
            If the owner has a dataset of equal content, the job uses that one: compare `dataset_id`.

        Raises:
            IdempotencyKeyReused: If the key was used with another fingerprint.
            QueueFull: If the queue has reached its maximum length.
            StorageFull: If the quota has no room for its data.
            DatasetNotFound: If the owner has no such dataset.
            JobNotFound: If the owner has no such job to continue from.
            ParameterSetNotFound: If the owner has no such parameter set to start with.
        """
        job, dataset, start = planned.job, planned.dataset, planned.start
        with self._database.write() as connection:
            if planned.idempotency is not None:
                earlier = bind_key(connection, owner, planned.idempotency, job.id, self._idempotency_period)
                if earlier is not None:
                    return Job.of_row(earlier), False
            check_length(connection, self._max_queue_length)
            if isinstance(dataset, str):
                dataset_id = DatasetStore.hold(connection, owner, dataset).id
            else:
                dataset_id = DatasetStore.insert(connection, owner, dataset).id
            for other_id in planned.other_dataset_ids:
                DatasetStore.keep_within(connection, owner, other_id)
            if planned.parameter_set_id is not None:
                ParameterSetStore.hold(connection, owner, planned.parameter_set_id)
            values = vars(job) | {"owner": owner, "dataset_id": dataset_id}
            if start is None:
                inserted, continuing = _insert(connection, values), ""
            else:
                inserted = _insert_continued(connection, values, start)
                continuing = f", continuing {start.job_id} from epoch {start.checkpoint.epoch}"
            check_quota(connection, self._max_stored_bytes)
            engine = orjson.loads(job.used)["engine"]
            if planned.parameter_set_id is not None:
                continuing = f", starting with {planned.parameter_set_id}"
            message = f"Queued for {job.device} with the {engine} engine{continuing}."
            warnings = [
                NewLine(inserted.id, 0, f"{warning['pointer']}: {warning['detail']}", LogLevel.WARNING)
                for warning in orjson.loads(job.warnings)
            ]
            add_lines(connection, [*warnings, NewLine(inserted.id, 0, message)])
            return inserted, True

    def check_room(self) -> None:
        """Check that the queue accepts a job now; `submit` checks again.

        Raises:
            QueueFull: If the queue has reached its maximum length.
        """
        with self._database.read() as connection:
            check_length(connection, self._max_queue_length)

    def replay(self, owner: str, idempotency: IdempotencyKey) -> Job | None:
        """Return the job that was submitted with this key, or None.

        Raises:
            IdempotencyKeyReused: If the key was used with another fingerprint.
        """
        with self._database.read() as connection:
            row = job_of_key(connection, owner, idempotency, self._idempotency_period)
        return None if row is None else Job.of_row(row)

    def get(self, owner: str, job_id: str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: If the owner has no such job.
        """
        with self._database.read() as connection:
            return _get(connection, owner, job_id)

    def list(
        self,
        owner: str,
        statuses: Sequence[JobStatus] = (),
        name: str | None = None,
        limit: int = 100,
        before: Cursor | None = None,
        created: Period = ALWAYS,
    ) -> Sequence[Job]:
        """Return a page of the owner's jobs, newest first, that follows the cursor `before`.

        Args:
            owner: Owner of the jobs.
            statuses: Statuses that the jobs may have; empty for all.
            name: Name of the jobs; None for any.
            limit: Maximum number of jobs.
            before: The last job of the previous page.
            created: Period in which the jobs were submitted.
        """
        query = select(jobs).where(jobs.c.owner == owner, *created.conditions(jobs.c.created_at))
        if statuses:
            query = query.where(jobs.c.status.in_(statuses))
        if name is not None:
            query = query.where(jobs.c.name == name)
        with self._database.read() as connection:
            return [Job.of_row(row) for row in connection.execute(newest_first(query, jobs, limit, before))]

    def edit(self, owner: str, job_id: str, edit: JobEdit, version: int | None = None) -> Job:
        """Change the fields of a job that are set in `edit`.

        Raises:
            JobNotFound: If the owner has no such job.
            PreconditionFailed: If the job has another version than `version`.
            JobNotWaiting: If its priority is to change after it has left the queue.
        """
        with self._database.write() as connection:
            job = _get(connection, owner, job_id, version, lock=True)
            values = {name: value for name, value in edit.values().items() if value != getattr(job, name)}
            if "priority" in values and job.status not in _WAITING:
                raise errors.JobNotWaiting(f"The job is {job.status}.")
            if not values:
                return job
            connection.execute(job_update(**values).where(jobs.c.id == job_id))
            return _get(connection, owner, job_id)

    def cancel(self, owner: str, job_id: str, version: int | None = None) -> Job:
        """Cancel a waiting job, or request the cancel of a running one; an ended job stays unchanged.

        Raises:
            JobNotFound: If the owner has no such job.
            PreconditionFailed: If the job has another version than `version`.
        """
        running = jobs.c.status == JobStatus.RUNNING
        waiting = jobs.c.status.in_(_WAITING)
        job, _ = self._change(
            owner,
            job_id,
            version,
            "Cancel",
            or_(waiting, and_(running, ~jobs.c.cancel_requested)),
            status=case((running, jobs.c.status), else_=to_status(JobStatus.CANCELLED)),
            stop_reason=case((waiting, to_stop_reason(StopReason.CANCELLED))),
            finished_at=case((waiting, now())),
            cancel_requested=true(),
        )
        return job

    def pause(self, owner: str, job_id: str, version: int | None = None) -> Job:
        """Pause a queued job, or request the pause of a running one, which then saves a checkpoint.

        Raises:
            JobNotFound: If the owner has no such job.
            PreconditionFailed: If the job has another version than `version`.
            JobNotRunning: If it is paused or has ended.
        """
        queued, running = jobs.c.status == JobStatus.QUEUED, jobs.c.status == JobStatus.RUNNING
        job, changed = self._change(
            owner,
            job_id,
            version,
            "Pause",
            or_(queued, and_(running, ~jobs.c.pause_requested)),
            status=case((queued, to_status(JobStatus.PAUSED)), else_=jobs.c.status),
            pause_requested=running,
        )
        if not changed and not job.pause_requested:
            raise errors.JobNotRunning(f"The job is {job.status}.")
        return job

    def resume(self, owner: str, job_id: str, version: int | None = None) -> Job:
        """Queue a paused job again at its former position, or withdraw a pause request.

        Raises:
            JobNotFound: If the owner has no such job.
            PreconditionFailed: If the job has another version than `version`.
            JobNotPaused: If it is not paused and no pause was requested.
        """
        paused = jobs.c.status == JobStatus.PAUSED
        job, changed = self._change(
            owner,
            job_id,
            version,
            "Resume",
            or_(paused, jobs.c.pause_requested),
            status=case((paused, to_status(JobStatus.QUEUED)), else_=jobs.c.status),
            pause_requested=false(),
        )
        if not changed:
            raise errors.JobNotPaused(f"The job is {job.status}.")
        return job

    def delete(self, owner: str, job_id: str, version: int | None = None) -> Sequence[str]:
        """Delete a job that has ended.

        Args:
            owner: Owner of the job.
            job_id: Id of the job.
            version: Version that the job must have; None for any.

        Returns:
            Names of the artifacts that no row refers to any longer.

        Raises:
            JobNotFound: If the owner has no such job.
            PreconditionFailed: If the job has another version.
            JobNotEnded: If it has not ended.
        """
        artifacts = select(checkpoints.c.artifact).where(checkpoints.c.job_id == job_id)
        with self._database.write() as connection:
            job = _get(connection, owner, job_id, version)
            if not job.status.ended:
                raise errors.JobNotEnded(f"The job is {job.status}.")
            names = connection.scalars(artifacts).all()
            connection.execute(jobs.delete().where(jobs.c.id == job_id))
        return names

    def _change(
        self,
        owner: str,
        job_id: str,
        version: int | None,
        action: str,
        condition: ColumnElement[bool],
        **values: Any,
    ) -> tuple[Job, bool]:
        """Update a job if the condition holds, and log the action; return the job and whether it changed."""
        mine = jobs.c.owner == owner, jobs.c.id == job_id
        with self._database.write() as connection:
            if version is not None:
                _get(connection, owner, job_id, version, lock=True)
            changed = connection.execute(job_update(**values).where(*mine, condition)).rowcount > 0
            job = _get(connection, owner, job_id)
            if changed:
                message = f"{action} requested; status: {job.status}."
                add_lines(connection, [NewLine(job_id, job.attempt, message)])
            return job, changed


def _insert(connection: Connection, values: dict[str, Any]) -> Job:
    return Job.of_row(connection.execute(ADD, values).one())


def _insert_continued(connection: Connection, values: dict[str, Any], start: StartingPoint) -> Job:
    """Insert a job that continues another, with a checkpoint and the history up to it."""
    epoch, owner = start.checkpoint.epoch, values["owner"]
    mine = select(jobs).where(jobs.c.owner == owner, jobs.c.id == start.job_id)
    # Shared lock: the other job can't be deleted before its history is copied.
    other = connection.execute(mine.with_for_update(read=True)).one_or_none()
    if other is None:
        raise errors.JobNotFound(f"No job has the id `{start.job_id}`.")
    if epoch:
        values |= {"epoch": epoch}
    if epoch == other.epoch:
        values |= {"latest": other.latest, "best": other.best}
    job = _insert(connection, values)
    copied = select(literal(job.id), history.c.first_epoch, history.c.last_epoch, history.c.payload).where(
        history.c.job_id == start.job_id, history.c.last_epoch <= epoch
    )
    names = ["job_id", "first_epoch", "last_epoch", "payload"]
    connection.execute(insert(history).from_select(names, copied))
    row = vars(start.checkpoint) | {"job_id": job.id, "created_at": now()}
    connection.execute(checkpoints.insert().values(row))
    return job


def _get(
    connection: Connection, owner: str, job_id: str, version: int | None = None, lock: bool = False
) -> Job:
    """Return a job, which must have a version unless it is None; `lock` it until the transaction ends."""
    query = ONE_JOB_LOCKED if lock else ONE_JOB
    row = connection.execute(query, {"owner": owner, "job_id": job_id}).one_or_none()
    if row is None:
        raise errors.JobNotFound(f"No job has the id `{job_id}`.")
    job = Job.of_row(row)
    if version not in (None, job.version):
        raise errors.PreconditionFailed(f'The job has changed; its ETag is "{job.version}".')
    return job
