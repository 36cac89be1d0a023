"""What may go, on each database."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, Outcome
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.retention import RetentionStore
from tests.support.records import OWNER, claimed, new_dataset, new_job

Submit = Callable[..., Job]
DONE = Outcome(JobStatus.SUCCEEDED, StopReason.COMPLETED)


def test_old_jobs_are_deleted(database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """Jobs that ended so long ago go, with the names of their artifacts; others stay, however old."""
    retention = RetentionStore(database)
    ended, waiting = submit(), submit()
    claims.finish(Ending(Claim.of(claimed(claims)), DONE, checkpoints=[NewCheckpoint(1, "checkpoints/a", 1)]))
    assert retention.delete_ended(timedelta(hours=1)).jobs == 0
    deleted = retention.delete_ended(timedelta(seconds=-1))
    assert (deleted.jobs, deleted.artifacts) == (1, ["checkpoints/a"])
    with pytest.raises(errors.JobNotFound):
        jobs.get(OWNER, ended.id)
    assert jobs.get(OWNER, waiting.id) == waiting
    assert retention.delete_ended(timedelta(seconds=-1)).jobs == 0


def test_artifacts_that_no_row_names_are_known(
    database: Database, claims: ClaimStore, submit: Submit
) -> None:
    """Of some artifacts, those are told that neither a checkpoint nor a dataset refers to."""
    submit()
    claims.save_checkpoint(Claim.of(claimed(claims)), NewCheckpoint(1, "checkpoints/a", 1))
    retention = RetentionStore(database)
    assert retention.unreferenced(["checkpoints/a", "checkpoints/b", "datasets/d1", "datasets/d2"]) == {
        "checkpoints/b",
        "datasets/d2",
    }
    assert retention.unreferenced([]) == set()


def test_a_running_job_may_still_name_what_it_wrote(
    database: Database, claims: ClaimStore, submit: Submit
) -> None:
    """Its last checkpoint is named when it ends, however long after it was written; others' go."""
    waiting, running = (submit(priority=priority).id for priority in (0, 1))
    claim = Claim.of(claimed(claims))
    assert claim.job_id == running
    last, left = f"checkpoints/{running}/a", f"checkpoints/{waiting}/a"
    retention = RetentionStore(database)
    assert retention.unreferenced([last, left]) == {left}
    claims.finish(Ending(claim, DONE, checkpoints=[NewCheckpoint(1, last, 1)]))
    assert retention.unreferenced([last, left, f"checkpoints/{running}/b"]) == {
        left,
        f"checkpoints/{running}/b",
    }


def test_inline_datasets_are_deleted_that_no_job_has(
    database: Database, jobs: JobStore, datasets: DatasetStore
) -> None:
    """Of old datasets, those go that came with a job, whose jobs are gone, and that nobody asked to keep."""
    retention = RetentionStore(database)

    def ended_and_deleted(digest: str) -> str:
        job, _ = jobs.submit(OWNER, new_job(), new_dataset(digest, inline=True))
        jobs.cancel(OWNER, job.id)
        jobs.delete(OWNER, job.id)
        return job.dataset_id

    alone = ended_and_deleted("alone")
    uploaded_too = ended_and_deleted("uploaded too")
    datasets.add(OWNER, new_dataset("uploaded too"))
    found_by_an_upload = ended_and_deleted("found by an upload")
    assert not datasets.keep(OWNER, found_by_an_upload).inline
    a_side_of_another = ended_and_deleted("a side of another")
    jobs.submit(OWNER, new_job(), new_dataset("other"), other_dataset_ids=[a_side_of_another])
    in_use, _ = jobs.submit(OWNER, new_job(), new_dataset("in use", inline=True))
    assert retention.delete_inline(timedelta(hours=1)) == []
    assert retention.delete_inline(timedelta(seconds=-1)) == ["datasets/alone"]
    with pytest.raises(errors.DatasetNotFound):
        datasets.get(OWNER, alone)
    for kept in (uploaded_too, found_by_an_upload, a_side_of_another, in_use.dataset_id):
        assert datasets.get(OWNER, kept)
    assert retention.delete_inline(timedelta(seconds=-1)) == []
