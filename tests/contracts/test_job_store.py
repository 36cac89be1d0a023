"""Jobs as their owners see them, on each database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import fields

import pytest
from sqlalchemy import event

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import CheckpointStore, NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, Outcome, Progress, Report
from service.storage.database import Database
from service.storage.datasets import Dataset, DatasetStore
from service.storage.history import HistoryRow, HistoryStore
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import Job, StartingPoint
from service.storage.jobs import JobStore
from service.storage.logs import LogStore
from service.storage.queue import QueueStore
from service.storage.tables import datasets as datasets_table
from service.storage.tables import jobs as jobs_table
from tests.support.records import OWNER, claimed, new_dataset, new_job

Submit = Callable[..., Job]
DONE = Outcome(JobStatus.SUCCEEDED, StopReason.COMPLETED)
KEY = IdempotencyKey("key", "fingerprint")


def test_a_record_has_a_field_for_each_column() -> None:
    """A job and a dataset show every column of their tables."""
    for record, table in ((Job, jobs_table), (Dataset, datasets_table)):
        assert [field.name for field in fields(record)] == table.columns.keys()


def test_a_submitted_job_is_queued_as_it_was_given(jobs: JobStore, datasets: DatasetStore) -> None:
    """A submitted job is queued, and its JSON comes back as the same text, in the same order."""
    new = new_job(name="thermometer", request='{"b": 1, "a": 2}')
    job, created = jobs.submit(OWNER, new, new_dataset())
    assert created
    assert (job.id, job.status, job.name, job.request) == (new.id, JobStatus.QUEUED, new.name, new.request)
    assert job.created_at.utcoffset() is not None
    assert datasets.get(OWNER, job.dataset_id).digest == "d1"
    assert jobs.get(OWNER, job.id) == job


def test_equal_content_is_one_dataset(jobs: JobStore) -> None:
    """Two jobs with equal content share the dataset of the first."""
    first, second = (jobs.submit(OWNER, new_job(), new_dataset())[0] for _ in range(2))
    other = jobs.submit("bob", new_job(), new_dataset())[0]
    assert first.dataset_id == second.dataset_id != other.dataset_id


def test_a_dataset_that_is_not_there_is_refused(jobs: JobStore, submit: Submit) -> None:
    """A job for a dataset that is gone, or another owner's, is refused and leaves nothing."""
    dataset_id = submit().dataset_id
    for owner, name in ((OWNER, "ds_gone"), ("bob", dataset_id)):
        with pytest.raises(errors.DatasetNotFound):
            jobs.submit(owner, new_job(), name, KEY)
        assert jobs.replay(owner, KEY) is None
    assert jobs.submit(OWNER, new_job(), dataset_id)[0].dataset_id == dataset_id


def test_a_key_gives_its_job_again(jobs: JobStore) -> None:
    """The same key and fingerprint give the earlier job; another fingerprint is refused."""
    assert jobs.replay(OWNER, KEY) is None
    job, _ = jobs.submit(OWNER, new_job(), new_dataset(), KEY)
    assert jobs.submit(OWNER, new_job(), new_dataset(), KEY) == (job, False)
    assert jobs.replay(OWNER, KEY) == job
    assert jobs.submit("bob", new_job(), new_dataset(), KEY)[1]
    for attempt in (
        lambda: jobs.submit(OWNER, new_job(), new_dataset(), IdempotencyKey("key", "other")),
        lambda: jobs.replay(OWNER, IdempotencyKey("key", "other")),
    ):
        with pytest.raises(errors.IdempotencyKeyReused):
            attempt()


def test_a_key_whose_job_is_just_deleted_gives_nothing_or_the_job(migrated_postgres: str) -> None:
    """Whatever another deletes while a key is read: the answer is one of a moment."""
    owner = "grace"
    with closing(Database(migrated_postgres)) as database, closing(Database(migrated_postgres)) as other:
        jobs, others_jobs = JobStore(database), JobStore(other)
        job, _ = jobs.submit(owner, new_job(), new_dataset(), KEY)
        cancelled = jobs.cancel(owner, job.id)

        def delete(*_: object) -> None:
            with suppress(errors.JobNotFound):  # it is gone after the first statement
                others_jobs.delete(owner, job.id)

        event.listen(database._engine, "after_cursor_execute", delete)
        assert jobs.replay(owner, KEY) == cancelled
        assert jobs.replay(owner, KEY) is None


def test_an_old_key_is_forgotten(database: Database) -> None:
    """A key is free again once its time is over."""
    jobs = JobStore(database, idempotency_hours=-1e-3)
    first, _ = jobs.submit(OWNER, new_job(), new_dataset(), KEY)
    assert jobs.replay(OWNER, KEY) is None
    second, created = jobs.submit(OWNER, new_job(), new_dataset(), KEY)
    assert created
    assert second.id != first.id


def test_a_race_on_one_key_makes_one_job(jobs: JobStore, queue: QueueStore) -> None:
    """Eight threads that submit with one key at once all get the same job, and one of them made it."""
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(jobs.submit, OWNER, new_job(), new_dataset(), KEY) for _ in range(8)]
    answers = [call.result() for call in calls]
    assert len({job.id for job, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert queue.lengths() == {"cpu": 1}


def test_a_full_queue_takes_no_more(database: Database) -> None:
    """Beyond the limit a submit is refused with a time to wait, but a known key still answers."""
    jobs = JobStore(database, max_queue_length=1)
    job, _ = jobs.submit(OWNER, new_job(), new_dataset(), KEY)
    with pytest.raises(errors.QueueFull) as refused:
        jobs.submit(OWNER, new_job(), new_dataset())
    assert refused.value.retry_after_seconds
    assert jobs.submit(OWNER, new_job(), new_dataset(), KEY) == (job, False)


def test_another_owners_job_is_not_found(jobs: JobStore, submit: Submit) -> None:
    """Nothing of a job shows to another owner."""
    job = submit()
    for act in (jobs.get, jobs.cancel, jobs.delete):
        with pytest.raises(errors.JobNotFound):
            act("bob", job.id)
    assert jobs.list("bob") == []


def test_a_list_pages_through_all_jobs_once(jobs: JobStore, submit: Submit) -> None:
    """Pages give every job once, newest first, also when jobs come in between."""
    submitted = {submit().id for _ in range(7)}
    seen: list[Job] = []
    while page := jobs.list(OWNER, limit=3, before=seen[-1].cursor if seen else None):
        seen += page
        submit()
    assert [job.id for job in seen if job.id in submitted] == [job.id for job in seen]
    assert {job.id for job in seen} == submitted
    assert [job.cursor for job in seen] == sorted((job.cursor for job in seen), reverse=True)


def test_a_list_is_filtered(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """A list may be of one status, one name, or both."""
    submit(name="a")
    submit(name="b")
    submit(name="a")
    claims.claim("w", ["cpu"], 30)
    assert len(jobs.list(OWNER, name="a")) == 2
    assert len(jobs.list(OWNER, status=JobStatus.QUEUED)) == 2
    assert len(jobs.list(OWNER, status=JobStatus.QUEUED, name="a")) == 1


def test_a_queued_job_is_cancelled_at_once(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """A cancelled job that was queued has ended and is never claimed."""
    job = submit()
    cancelled = jobs.cancel(OWNER, job.id)
    assert (cancelled.status, cancelled.stop_reason) == (JobStatus.CANCELLED, StopReason.CANCELLED)
    assert cancelled.finished_at is not None
    assert cancelled.version == job.version + 1
    assert claims.claim("w", ["cpu"], 30) is None


def test_a_running_job_is_asked_to_stop(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """Cancelling a running job tells its worker; asking twice changes nothing more."""
    submit()
    running = claims.claim("w", ["cpu"], 30)
    assert running is not None
    asked = jobs.cancel(OWNER, running.id)
    assert (asked.status, asked.cancel_requested, asked.stop_reason) == (JobStatus.RUNNING, True, None)
    assert jobs.cancel(OWNER, running.id) == asked
    assert claims.record(Report(Claim.of(running), Progress(1))).cancel_requested


def test_a_pause_that_is_asked_for_twice_is_one(
    database: Database, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """A running job that is to rest stays as it is when that is asked once more, and its log too."""
    job = submit()
    running = claimed(claims)
    asked = jobs.pause(OWNER, running.id)
    assert (asked.status, asked.pause_requested) == (JobStatus.RUNNING, True)
    told = LogStore(database).of_job(OWNER, job.id, 10)
    assert jobs.pause(OWNER, running.id) == asked
    assert LogStore(database).of_job(OWNER, job.id, 10) == told
    claims.release(Claim.of(running))
    with pytest.raises(errors.JobNotRunning):
        jobs.pause(OWNER, job.id)


def test_an_ended_job_stays_as_it_is(jobs: JobStore, claims: ClaimStore, submit: Submit) -> None:
    """Cancelling an ended job changes nothing."""
    submit()
    running = claims.claim("w", ["cpu"], 30)
    assert running is not None
    claims.finish(Ending(Claim.of(running), DONE))
    ended = jobs.get(OWNER, running.id)
    assert jobs.cancel(OWNER, running.id) == ended


def test_only_ended_jobs_are_deleted(
    database: Database, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """A job is deleted once it has ended, with its key and history, and its checkpoints' artifacts named."""
    job, _ = jobs.submit(OWNER, new_job(), new_dataset(), KEY)
    with pytest.raises(errors.JobNotEnded):
        jobs.delete(OWNER, job.id)
    running = claims.claim("w", ["cpu"], 30)
    assert running is not None
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


def test_a_deleted_jobs_place_is_not_given_again(jobs: JobStore, submit: Submit) -> None:
    """The order of the queue goes on counting where a deleted job was the last."""
    first = submit()
    jobs.cancel(OWNER, first.id)
    jobs.delete(OWNER, first.id)
    assert submit().sequence > first.sequence


def test_a_job_that_goes_on_has_what_came_before(
    database: Database, jobs: JobStore, claims: ClaimStore, submit: Submit
) -> None:
    """A job that begins from another has its history up to the checkpoint, and keeps that for itself."""
    submit()
    claim = Claim.of(claimed(claims))
    rows = [HistoryRow(1, 5, b"x"), HistoryRow(6, 8, b"y")]
    claims.record(Report(claim, Progress(8, latest='{"epoch": 8}', best='{"epoch": 2}'), rows))
    claims.finish(Ending(claim, DONE))
    start = StartingPoint(claim.job_id, NewCheckpoint(8, "checkpoints/copy", 5))
    job, created = jobs.submit(OWNER, new_job(), new_dataset(), start=start)
    earlier = StartingPoint(claim.job_id, NewCheckpoint(5, "e", 1))
    early, _ = jobs.submit(OWNER, new_job(), new_dataset(), start=earlier)
    jobs.delete(OWNER, claim.job_id)
    assert (created, job.status) == (True, JobStatus.QUEUED)
    assert (job.epoch, job.latest, job.best) == (8, '{"epoch": 8}', '{"epoch": 2}')
    assert (early.epoch, early.latest, early.best) == (5, None, None)
    history, checkpoints = HistoryStore(database), CheckpointStore(database)
    assert (history.rows(job.id), history.rows(early.id)) == (rows, rows[:1])
    assert [each.artifact for each in checkpoints.of_job(OWNER, job.id)] == ["checkpoints/copy"]
    assert claimed(claims).epoch == 8


def test_nobody_goes_on_from_a_job_that_is_not_there(jobs: JobStore, queue: QueueStore) -> None:
    """A job to begin from that is gone, or another owner's, is refused and leaves nothing."""
    with pytest.raises(errors.JobNotFound):
        jobs.submit(
            OWNER, new_job(), new_dataset(), start=StartingPoint("job_gone", NewCheckpoint(1, "a", 1))
        )
    assert queue.lengths() == {}
