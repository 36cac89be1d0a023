"""Jobs as their owners see them: submitted, listed, paused, cancelled, deleted. Workers use `claims`."""

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
from service.specs.job import JobStatus, StopReason
from service.storage.database import Database
from service.storage.datasets import NewDataset, add_dataset, hold_dataset, keep_dataset
from service.storage.idempotency import IdempotencyKey, job_of_key, take_key
from service.storage.job_record import Job, NewJob, Start, job_update, to_status, to_stop_reason
from service.storage.logs import NewLine, add_lines
from service.storage.pages import Place, newest_first
from service.storage.queue import check_length
from service.storage.tables import checkpoints, history, jobs
from service.storage.timestamp import now

# Built once: what every status poll asks, and every submit. Building them takes as long as asking.
ONE_JOB = select(jobs).where(jobs.c.owner == bindparam("owner"), jobs.c.id == bindparam("job_id"))
ADD = jobs.insert().values(status=JobStatus.QUEUED, created_at=now(), changed_at=now()).returning(*jobs.c)


class JobStore:
    """The jobs of all owners.

    Args:
        database: where they are.
        max_queue_length: queued jobs beyond which none is accepted.
        idempotency_hours: how long a key is remembered.
    """

    def __init__(
        self, database: Database, max_queue_length: int = 10_000, idempotency_hours: float = 24.0
    ) -> None:
        self._database = database
        self._max_queue_length = max_queue_length
        self._idempotency_period = timedelta(hours=idempotency_hours)

    def submit(
        self,
        owner: str,
        job: NewJob,
        dataset: NewDataset | str,
        idempotency: IdempotencyKey | None = None,
        start: Start | None = None,
        other_dataset_ids: Sequence[str] = (),
    ) -> tuple[Job, bool]:
        """Accept a job: once this returns, the job is not lost.

        Args:
            owner: whose job it is.
            job: what to do.
            dataset: the id of one the owner has, or one to add with the job. The job takes the
                owner's dataset of equal content where there is one: compare its `dataset_id`.
            idempotency: the same key and fingerprint give the same job.
            start: where it begins; None: from nothing.
            other_dataset_ids: further datasets that the job's request names: they stay until they are
                deleted.

        Returns:
            The job, and whether it is a new one.

        Raises:
            IdempotencyKeyReused: when the key came with another fingerprint before.
            QueueFull: when as many jobs are queued as may be.
            DatasetNotFound: when the owner has no such dataset.
            JobNotFound: when the owner has no such job to go on from.
        """
        with self._database.write() as connection:
            if idempotency is not None:
                earlier = take_key(connection, owner, idempotency, job.id, self._idempotency_period)
                if earlier is not None:
                    return Job.of_row(earlier), False
            check_length(connection, self._max_queue_length)
            if isinstance(dataset, str):
                hold_dataset(connection, owner, dataset)
                dataset_id = dataset
            else:
                dataset_id = add_dataset(connection, owner, dataset).id
            for other_id in other_dataset_ids:
                keep_dataset(connection, owner, other_id)
            values = vars(job) | {"owner": owner, "dataset_id": dataset_id}
            if start is None:
                accepted, beginning = _insert(connection, values), ""
            else:
                accepted = _insert_started(connection, values, start)
                beginning = f", to begin where {start.job_id} was at epoch {start.checkpoint.epoch}"
            engine = orjson.loads(job.used)["engine"]
            message = f"Queued for {job.device}, for the {engine} engine{beginning}."
            add_lines(connection, [NewLine(accepted.id, 0, message)])
            return accepted, True

    def check_room(self) -> None:
        """Whether a job would be accepted at this moment; `submit` looks again.

        Raises:
            QueueFull: when as many jobs are queued as may be.
        """
        with self._database.read() as connection:
            check_length(connection, self._max_queue_length)

    def replay(self, owner: str, idempotency: IdempotencyKey) -> Job | None:
        """The job that was submitted with this key, if one was.

        Raises:
            IdempotencyKeyReused: when the key came with another fingerprint.
        """
        with self._database.read() as connection:
            row = job_of_key(connection, owner, idempotency, self._idempotency_period)
        return None if row is None else Job.of_row(row)

    def get(self, owner: str, job_id: str) -> Job:
        """One job.

        Raises:
            JobNotFound: when the owner has none of this id.
        """
        with self._database.read() as connection:
            return _get(connection, owner, job_id)

    def list(
        self,
        owner: str,
        status: JobStatus | None = None,
        name: str | None = None,
        limit: int = 100,
        before: Place | None = None,
    ) -> Sequence[Job]:
        """The owner's jobs after a place in the list, from the newest to the oldest."""
        query = select(jobs).where(jobs.c.owner == owner)
        if status is not None:
            query = query.where(jobs.c.status == status)
        if name is not None:
            query = query.where(jobs.c.name == name)
        with self._database.read() as connection:
            return [Job.of_row(row) for row in connection.execute(newest_first(query, jobs, limit, before))]

    def cancel(self, owner: str, job_id: str) -> Job:
        """Cancel a job: at once, or with the worker that runs it; an ended job stays as it is.

        Raises:
            JobNotFound: when the owner has none of this id.
        """
        running = jobs.c.status == JobStatus.RUNNING
        waiting = jobs.c.status.in_([JobStatus.QUEUED, JobStatus.PAUSED])
        job, _ = self._change(
            owner,
            job_id,
            "cancel",
            or_(waiting, and_(running, ~jobs.c.cancel_requested)),
            status=case((running, jobs.c.status), else_=to_status(JobStatus.CANCELLED)),
            stop_reason=case((waiting, to_stop_reason(StopReason.CANCELLED))),
            finished_at=case((waiting, now())),
            cancel_requested=true(),
        )
        return job

    def pause(self, owner: str, job_id: str) -> Job:
        """Pause a job: at once while it is queued, with a checkpoint while it runs.

        Raises:
            JobNotFound: when the owner has none of this id.
            JobNotRunning: when it is paused already, or has ended.
        """
        queued, running = jobs.c.status == JobStatus.QUEUED, jobs.c.status == JobStatus.RUNNING
        job, changed = self._change(
            owner,
            job_id,
            "pause",
            or_(queued, and_(running, ~jobs.c.pause_requested)),
            status=case((queued, to_status(JobStatus.PAUSED)), else_=jobs.c.status),
            pause_requested=running,
        )
        if not changed and not job.pause_requested:
            raise errors.JobNotRunning(f"The job is {job.status}.")
        return job

    def resume(self, owner: str, job_id: str) -> Job:
        """Put a paused job back into its place in the queue, or take a pause back that was asked for.

        Raises:
            JobNotFound: when the owner has none of this id.
            JobNotPaused: when it is not paused.
        """
        paused = jobs.c.status == JobStatus.PAUSED
        job, changed = self._change(
            owner,
            job_id,
            "resume",
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
            owner: whose job it is.
            job_id: its id.
            version: the only version to delete; None: whichever it is.

        Returns:
            The names of the artifacts that nothing refers to any more.

        Raises:
            JobNotFound: when the owner has none of this id.
            PreconditionFailed: when the job has another version.
            JobNotEnded: when it may still run.
        """
        artifacts = select(checkpoints.c.artifact).where(checkpoints.c.job_id == job_id)
        with self._database.write() as connection:
            job = _get(connection, owner, job_id)
            if version not in (None, job.version):
                raise errors.PreconditionFailed()
            if not job.status.ended:
                raise errors.JobNotEnded(f"The job is {job.status}.")
            names = connection.scalars(artifacts).all()
            connection.execute(jobs.delete().where(jobs.c.id == job_id))
        return names

    def _change(
        self, owner: str, job_id: str, wish: str, condition: ColumnElement[bool], **values: Any
    ) -> tuple[Job, bool]:
        """The job after what its owner wishes, and whether it was done: it is where the condition holds."""
        mine = jobs.c.owner == owner, jobs.c.id == job_id
        with self._database.write() as connection:
            changed = connection.execute(job_update(**values).where(*mine, condition)).rowcount > 0
            job = _get(connection, owner, job_id)
            if changed:
                message = f"Its owner wants to {wish} it. Now {job.status}."
                add_lines(connection, [NewLine(job_id, job.attempt, message)])
            return job, changed


def _insert(connection: Connection, values: dict[str, Any]) -> Job:
    return Job.of_row(connection.execute(ADD, values).one())


def _insert_started(connection: Connection, values: dict[str, Any], start: Start) -> Job:
    """Insert a job that goes on from another: with a checkpoint, and the history up to it."""
    epoch, owner = start.checkpoint.epoch, values["owner"]
    mine = select(jobs).where(jobs.c.owner == owner, jobs.c.id == start.job_id)
    # Held: the other job can't be deleted before its history is here too.
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


def _get(connection: Connection, owner: str, job_id: str) -> Job:
    row = connection.execute(ONE_JOB, {"owner": owner, "job_id": job_id}).one_or_none()
    if row is None:
        raise errors.JobNotFound(f"No job has the id `{job_id}`.")
    return Job.of_row(row)
