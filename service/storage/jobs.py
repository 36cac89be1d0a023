"""Jobs as their owners see them: submitted, listed, cancelled, deleted. Workers use `claims`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Update, and_, bindparam, case, func, literal, or_, select, true

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.database import Database, insert_or_get
from service.storage.datasets import NewDataset, add_dataset, hold_dataset
from service.storage.ids import new_id
from service.storage.pages import Place, newest_first
from service.storage.tables import checkpoints, idempotency_keys, jobs
from service.storage.timestamp import from_now, now

QUEUE_FULL_RETRY_SECONDS = 10
# Built once: it is what every status poll asks, and building it takes as long as asking.
ONE_JOB = select(jobs).where(jobs.c.owner == bindparam("owner"), jobs.c.id == bindparam("job_id"))


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
    checkpoint_epoch: int
    workers_lost: int
    worker_id: str | None
    lease_expires_at: datetime | None
    cancel_requested: bool
    pause_requested: bool

    @classmethod
    def of_row(cls, row: Row[Any]) -> "Job":
        """The job of a row with all columns, in the table's order."""
        values: Sequence[Any] = row
        return cls(*values)

    @property
    def place(self) -> Place:
        """Its place in lists."""
        return Place(self.created_at, self.id)


class IdempotencyKey(NamedTuple):
    """A client's key, and what tells whether it came with the same request."""

    key: str
    fingerprint: str


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
        other_dataset_ids: Sequence[str] = (),
    ) -> tuple[Job, bool]:
        """Accept a job: once this returns, the job is not lost.

        Args:
            owner: whose job it is.
            job: what to do.
            dataset: the id of one the owner has, or one to add with the job. The job takes the
                owner's dataset of equal content where there is one: compare its `dataset_id`.
            idempotency: the same key and fingerprint give the same job.
            other_dataset_ids: further datasets that the job's request names.

        Returns:
            The job, and whether it is a new one.

        Raises:
            IdempotencyKeyReused: when the key came with another fingerprint before.
            QueueFull: when as many jobs are queued as may be.
            DatasetNotFound: when the owner has no such dataset.
        """
        with self._database.write() as connection:
            if idempotency is not None:
                earlier = self._take_key(connection, owner, idempotency, job.id)
                if earlier is not None:
                    return earlier, False
            self._check_queue(connection)
            if isinstance(dataset, str):
                hold_dataset(connection, owner, dataset)
                dataset_id = dataset
            else:
                dataset_id = add_dataset(connection, owner, dataset).id
            for other_id in other_dataset_ids:
                hold_dataset(connection, owner, other_id)
            values = asdict(job) | {
                "owner": owner,
                "dataset_id": dataset_id,
                "status": JobStatus.QUEUED,
                "created_at": now(),
            }
            return Job.of_row(connection.execute(jobs.insert().values(values).returning(jobs)).one()), True

    def replay(self, owner: str, idempotency: IdempotencyKey) -> Job | None:
        """The job that was submitted with this key, if one was.

        Raises:
            IdempotencyKeyReused: when the key came with another fingerprint.
        """
        keys = idempotency_keys.c
        query = select(idempotency_keys).where(
            keys.owner == owner,
            keys.key == idempotency.key,
            keys.created_at >= from_now(-self._idempotency_period),
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else _replayed(connection, row, idempotency)

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
        return self._change(
            owner,
            job_id,
            or_(waiting, and_(running, ~jobs.c.cancel_requested)),
            status=case((running, jobs.c.status), else_=literal(JobStatus.CANCELLED, jobs.c.status.type)),
            stop_reason=case((waiting, literal(StopReason.CANCELLED, jobs.c.stop_reason.type))),
            finished_at=case((waiting, now())),
            cancel_requested=true(),
        )

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

    def queue_position(self, job: Job) -> int | None:
        """How many jobs start before this one in its device's queue, and one: 1 is the next."""
        if job.status is not JobStatus.QUEUED:
            return None
        sooner = or_(
            jobs.c.priority > job.priority,
            and_(jobs.c.priority == job.priority, jobs.c.sequence < job.sequence),
        )
        query = select(func.count()).where(
            jobs.c.status == JobStatus.QUEUED, jobs.c.device == job.device, sooner
        )
        with self._database.read() as connection:
            return connection.scalars(query).one() + 1

    def queue_length(self) -> int:
        """How many jobs are queued, for all devices and owners."""
        with self._database.read() as connection:
            return _queue_length(connection)

    def claimable(self) -> set[str]:
        """The devices that jobs are queued for."""
        query = select(jobs.c.device).distinct().where(jobs.c.status == JobStatus.QUEUED)
        with self._database.read() as connection:
            return set(connection.scalars(query))

    def _take_key(
        self, connection: Connection, owner: str, idempotency: IdempotencyKey, job_id: str
    ) -> Job | None:
        """Tie a key to a new job, or find the job it is tied to."""
        expired = idempotency_keys.c.created_at < from_now(-self._idempotency_period)
        connection.execute(idempotency_keys.delete().where(expired))
        values = idempotency._asdict() | {"owner": owner, "job_id": job_id, "created_at": now()}
        row = insert_or_get(connection, idempotency_keys, ["owner", "key"], values)
        return None if row.job_id == job_id else _replayed(connection, row, idempotency)

    def _check_queue(self, connection: Connection) -> None:
        # On Postgres, submits at the same moment don't count each other: the limit is exceeded by a few.
        length = _queue_length(connection)
        if length >= self._max_queue_length:
            raise errors.QueueFull(
                f"{length} jobs are queued already.", retry_after_seconds=QUEUE_FULL_RETRY_SECONDS
            )

    def _change(self, owner: str, job_id: str, condition: Any, **values: Any) -> Job:
        """The job after a change, which is made where the condition holds."""
        mine = jobs.c.owner == owner, jobs.c.id == job_id
        with self._database.write() as connection:
            connection.execute(job_update(**values).where(*mine, condition))
            return _get(connection, owner, job_id)


def job_update(**values: Any) -> Update:
    """An update of jobs that clients can see: their version grows."""
    return jobs.update().values(version=jobs.c.version + 1, **values)


def _get(connection: Connection, owner: str, job_id: str) -> Job:
    row = connection.execute(ONE_JOB, {"owner": owner, "job_id": job_id}).one_or_none()
    if row is None:
        raise errors.JobNotFound(f"No job has the id `{job_id}`.")
    return Job.of_row(row)


def _replayed(connection: Connection, row: Row[Any], idempotency: IdempotencyKey) -> Job:
    if row.fingerprint != idempotency.fingerprint:
        raise errors.IdempotencyKeyReused()
    return Job.of_row(connection.execute(select(jobs).where(jobs.c.id == row.job_id)).one())


def _queue_length(connection: Connection) -> int:
    query = select(func.count()).where(jobs.c.status == JobStatus.QUEUED)
    return connection.scalars(query).one()
