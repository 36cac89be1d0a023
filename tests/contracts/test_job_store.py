"""The store of jobs, on each database."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from sqlalchemy import event

from service import errors
from service.specs.job import JobEdit, JobStatus, StopReason
from service.storage.checkpoints import CheckpointStore, NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, Progress, Report
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.history import HistoryRow, HistoryStore
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import Job, StartingPoint
from service.storage.jobs import JobStore
from service.storage.logs import LogStore
from service.storage.planned_job import PlannedJob
from service.storage.queue import QueueStore
from tests.support.records import DONE, OWNER, Submit, claimed, new_dataset, new_job

KEY = IdempotencyKey("key", "fingerprint")


def test_a_submitted_job_is_queued(jobs: JobStore, datasets: DatasetStore) -> None:
    """A submitted job is queued, and its JSON is stored as the same text."""
    new = new_job(name="thermometer", request='{"b": 1, "a": 2}')
    job, created = jobs.submit(OWNER, PlannedJob(new, new_dataset()))
    assert created
    assert (job.id, job.status, job.name, job.request) == (new.id, JobStatus.QUEUED, new.name, new.request)
    assert job.created_at.utcoffset() is not None
    assert datasets.get(OWNER, job.dataset_id).digest == "d1"
    assert jobs.get(OWNER, job.id) == job


def test_equal_content_is_one_dataset(jobs: JobStore) -> None:
    """Two jobs of an owner with equal content share one dataset."""
    first, second = (jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))[0] for _ in range(2))
    other = jobs.submit("bob", PlannedJob(new_job(), new_dataset()))[0]
    assert first.dataset_id == second.dataset_id != other.dataset_id


def test_a_job_for_an_unknown_dataset_is_refused(jobs: JobStore, submit: Submit) -> None:
    """A job for a dataset that does not exist, or of another owner, is refused and leaves no row."""
    dataset_id = submit().dataset_id
    for owner, name in ((OWNER, "ds_gone"), ("bob", dataset_id)):
        with pytest.raises(errors.DatasetNotFound):
            jobs.submit(owner, PlannedJob(new_job(), name, idempotency=KEY))
        assert jobs.replay(owner, KEY) is None
    assert jobs.submit(OWNER, PlannedJob(new_job(), dataset_id))[0].dataset_id == dataset_id


def test_a_repeated_key_returns_its_job(jobs: JobStore) -> None:
    """The same key and fingerprint return the earlier job; another fingerprint is refused."""
    assert jobs.replay(OWNER, KEY) is None
    job, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
    assert jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY)) == (job, False)
    assert jobs.replay(OWNER, KEY) == job
    assert jobs.submit("bob", PlannedJob(new_job(), new_dataset(), idempotency=KEY))[1]
    for attempt in (
        lambda: jobs.submit(
            OWNER, PlannedJob(new_job(), new_dataset(), idempotency=IdempotencyKey("key", "other"))
        ),
        lambda: jobs.replay(OWNER, IdempotencyKey("key", "other")),
    ):
        with pytest.raises(errors.IdempotencyKeyReused):
            attempt()


def test_a_replay_reads_one_snapshot(migrated_postgres: str) -> None:
    """A replay returns the job or None, even if the job is deleted between its statements."""
    owner = "grace"
    with closing(Database(migrated_postgres)) as database, closing(Database(migrated_postgres)) as other:
        jobs, others_jobs = JobStore(database), JobStore(other)
        job, _ = jobs.submit(owner, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
        cancelled = jobs.cancel(owner, job.id)

        def delete(*_: object) -> None:
            with suppress(errors.JobNotFound):  # deleted after the first statement
                others_jobs.delete(owner, job.id)

        event.listen(database._engine, "after_cursor_execute", delete)
        assert jobs.replay(owner, KEY) == cancelled
        assert jobs.replay(owner, KEY) is None


def test_an_old_key_expires(database: Database) -> None:
    """A key can be used for another job after `idempotency_hours`."""
    jobs = JobStore(database, idempotency_hours=-1e-3)
    first, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
    assert jobs.replay(OWNER, KEY) is None
    second, created = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
    assert created
    assert second.id != first.id


def test_a_race_on_one_key_creates_one_job(jobs: JobStore, queue: QueueStore) -> None:
    """Of eight threads that submit with one key at once, one creates the job and all receive it."""
    with ThreadPoolExecutor(8) as threads:
        calls = [
            threads.submit(jobs.submit, OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
            for _ in range(8)
        ]
    answers = [call.result() for call in calls]
    assert len({job.id for job, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert queue.lengths() == {"cpu": 1}


def test_a_full_queue_refuses_jobs(database: Database) -> None:
    """A full queue refuses a job with a time to retry after, but a known key still returns its job."""
    jobs = JobStore(database, max_queue_length=1)
    job, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
    with pytest.raises(errors.QueueFull) as refused:
        jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    assert refused.value.retry_after_seconds
    assert jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY)) == (job, False)


def test_another_owners_job_is_not_found(jobs: JobStore, submit: Submit) -> None:
    """A job does not exist for another owner."""
    job = submit()
    for act in (jobs.get, jobs.cancel, jobs.delete):
        with pytest.raises(errors.JobNotFound):
            act("bob", job.id)
    assert jobs.list("bob") == []


def test_a_list_pages_through_all_jobs_once(jobs: JobStore, submit: Submit) -> None:
    """Pages contain each job once, newest first, even if jobs are submitted between the requests."""
    submitted = {submit().id for _ in range(7)}
    seen: list[Job] = []
    while page := jobs.list(OWNER, limit=3, before=seen[-1].cursor if seen else None):
        seen += page
        submit()
    assert [job.id for job in seen if job.id in submitted] == [job.id for job in seen]
    assert {job.id for job in seen} == submitted
    assert [job.cursor for job in seen] == sorted((job.cursor for job in seen), reverse=True)


def test_a_job_is_edited_while_it_waits(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """Name and priority change together with the version; after a claim, only the name may change."""
    job = submit(name="a")
    edited = jobs.edit(OWNER, job.id, JobEdit(name=None, priority=3))
    assert (edited.name, edited.priority, edited.version) == (None, 3, job.version + 1)
    assert jobs.edit(OWNER, job.id, JobEdit(priority=3)) == edited
    claims.claim("w", ["cpu"], 30)
    with pytest.raises(errors.JobNotWaiting):
        jobs.edit(OWNER, job.id, JobEdit(name="b", priority=None))
    assert jobs.edit(OWNER, job.id, JobEdit(name="b")).name == "b"


def test_a_change_of_another_version_is_refused(jobs: JobStore, submit: Submit) -> None:
    """Each change may be bound to a version."""
    job = submit()
    for change in (jobs.cancel, jobs.pause, jobs.resume, jobs.delete):
        with pytest.raises(errors.PreconditionFailed):
            change(OWNER, job.id, job.version + 1)
    with pytest.raises(errors.PreconditionFailed):
        jobs.edit(OWNER, job.id, JobEdit(name="b"), job.version + 1)
    assert jobs.get(OWNER, job.id) == job
    assert jobs.pause(OWNER, job.id, job.version).status == JobStatus.PAUSED


def test_a_list_is_filtered(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """A list can be filtered by status, by name or by both."""
    submit(name="a")
    submit(name="b")
    submit(name="a")
    claims.claim("w", ["cpu"], 30)
    assert len(jobs.list(OWNER, name="a")) == 2
    assert len(jobs.list(OWNER, statuses=[JobStatus.QUEUED])) == 2
    assert len(jobs.list(OWNER, statuses=[JobStatus.QUEUED], name="a")) == 1


def test_a_queued_job_is_cancelled_at_once(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """Cancelling a queued job ends it, and it is never claimed."""
    job = submit()
    cancelled = jobs.cancel(OWNER, job.id)
    assert (cancelled.status, cancelled.stop_reason) == (JobStatus.CANCELLED, StopReason.CANCELLED)
    assert cancelled.finished_at is not None
    assert cancelled.version == job.version + 1
    assert claims.claim("w", ["cpu"], 30) is None


def test_cancelling_signals_a_running_job(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """Cancelling a running job sets a signal for its worker; a repeated request changes nothing."""
    submit()
    running = claimed(claims)
    signalled = jobs.cancel(OWNER, running.id)
    assert (signalled.status, signalled.cancel_requested) == (JobStatus.RUNNING, True)
    assert signalled.stop_reason is None
    assert jobs.cancel(OWNER, running.id) == signalled
    assert claims.record(Report(Claim.of(running), Progress(1))).cancel_requested


def test_a_repeated_pause_changes_nothing(
    database: Database, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """A second pause request changes neither a running job nor its log."""
    job = submit()
    running = claimed(claims)
    signalled = jobs.pause(OWNER, running.id)
    assert (signalled.status, signalled.pause_requested) == (JobStatus.RUNNING, True)
    log = LogStore(database).of_job(OWNER, job.id, 10)
    assert jobs.pause(OWNER, running.id) == signalled
    assert LogStore(database).of_job(OWNER, job.id, 10) == log
    claims.release(Claim.of(running))
    with pytest.raises(errors.JobNotRunning):
        jobs.pause(OWNER, job.id)


def test_cancelling_an_ended_job_changes_nothing(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """Cancelling an ended job changes nothing."""
    submit()
    running = claimed(claims)
    claims.finish(Ending(Claim.of(running), DONE))
    ended = jobs.get(OWNER, running.id)
    assert jobs.cancel(OWNER, running.id) == ended


def test_only_ended_jobs_are_deleted(
    database: Database, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """An ended job is deleted with its key and history, and the artifacts of its checkpoints are returned."""
    job, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), idempotency=KEY))
    with pytest.raises(errors.JobNotEnded):
        jobs.delete(OWNER, job.id)
    running = claimed(claims)
    with pytest.raises(errors.JobNotEnded):
        jobs.delete(OWNER, job.id)
    rows, checkpoint = [HistoryRow(1, 10, b"x")], NewCheckpoint(10, "checkpoints/a", 5)
    claims.finish(Ending(Claim.of(running), DONE, Progress(10), rows, [checkpoint]))
    version = jobs.get(OWNER, job.id).version
    with pytest.raises(errors.PreconditionFailed):
        jobs.delete(OWNER, job.id, version - 1)
    assert jobs.delete(OWNER, job.id, version) == ["checkpoints/a"]
    with pytest.raises(errors.JobNotFound):
        jobs.get(OWNER, job.id)
    assert jobs.replay(OWNER, KEY) is None
    assert HistoryStore(database).rows(job.id) == []


def test_the_sequence_of_a_deleted_job_is_not_reused(jobs: JobStore, submit: Submit) -> None:
    """The sequence of a new job is greater than that of a deleted one."""
    first = submit()
    jobs.cancel(OWNER, first.id)
    jobs.delete(OWNER, first.id)
    assert submit().sequence > first.sequence


def test_a_continuation_has_the_history_of_its_source(
    database: Database, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """A continuation has a copy of the other job's history up to the checkpoint, which outlives that job."""
    submit()
    claim = Claim.of(claimed(claims))
    rows = [HistoryRow(1, 5, b"x"), HistoryRow(6, 8, b"y")]
    claims.record(Report(claim, Progress(8, latest='{"epoch": 8}', best='{"epoch": 2}'), rows))
    claims.finish(Ending(claim, DONE))
    start = StartingPoint(claim.job_id, NewCheckpoint(8, "checkpoints/copy", 5))
    job, created = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), start=start))
    earlier = StartingPoint(claim.job_id, NewCheckpoint(5, "e", 1))
    early, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(), start=earlier))
    jobs.delete(OWNER, claim.job_id)
    assert (created, job.status) == (True, JobStatus.QUEUED)
    assert (job.epoch, job.latest, job.best) == (8, '{"epoch": 8}', '{"epoch": 2}')
    assert (early.epoch, early.latest, early.best) == (5, None, None)
    history, checkpoints = HistoryStore(database), CheckpointStore(database)
    assert (history.rows(job.id), history.rows(early.id)) == (rows, rows[:1])
    assert [each.artifact for each in checkpoints.of_job(OWNER, job.id)] == ["checkpoints/copy"]
    assert claimed(claims).epoch == 8


def test_a_continuation_of_an_unknown_job_is_refused(jobs: JobStore, queue: QueueStore) -> None:
    """A continuation of a job that does not exist is refused and leaves no row."""
    with pytest.raises(errors.JobNotFound):
        jobs.submit(
            OWNER,
            PlannedJob(new_job(), new_dataset(), StartingPoint("job_gone", NewCheckpoint(1, "a", 1))),
        )
    assert queue.lengths() == {}
