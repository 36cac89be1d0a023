"""The store for retention, on each database."""

from datetime import timedelta

import pytest

from service import errors
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending
from service.storage.database import Database
from service.storage.datasets import DatasetStore
from service.storage.jobs import JobStore
from service.storage.parameter_sets import ParameterSetStore
from service.storage.planned_job import PlannedJob
from service.storage.retention import RetentionStore
from tests.support.records import DONE, OWNER, Submit, claimed, new_dataset, new_job, new_parameter_set


def test_old_jobs_are_deleted(database: Database, claims: ClaimStore, jobs: JobStore, submit: Submit) -> None:
    """Jobs that ended before a time are deleted and their artifacts returned; queued jobs are kept."""
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


def test_unnamed_artifacts_are_found(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """`unreferenced` returns those of the given artifacts that no row refers to."""
    submit()
    ParameterSetStore(database).add(OWNER, new_parameter_set("a"))
    claims.save_checkpoint(Claim.of(claimed(claims)), NewCheckpoint(1, "checkpoints/a", 1))
    retention = RetentionStore(database)
    named = {"checkpoints/a", "datasets/d1", "parameters/a"}
    unnamed = {"checkpoints/b", "datasets/d2", "parameters/b"}
    assert retention.unreferenced(named | unnamed) == unnamed
    assert retention.unreferenced([]) == set()


def test_artifacts_of_running_jobs_are_kept(database: Database, claims: ClaimStore, submit: Submit) -> None:
    """Artifacts of a running job are not returned, since the job may name them when it ends."""
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


def test_unused_inline_datasets_are_deleted(
    database: Database, jobs: JobStore, datasets: DatasetStore
) -> None:
    """Old inline datasets are deleted unless a job uses them or they were uploaded as well."""
    retention = RetentionStore(database)

    def ended_and_deleted(digest: str) -> str:
        job, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset(digest, inline=True)))
        jobs.cancel(OWNER, job.id)
        jobs.delete(OWNER, job.id)
        return job.dataset_id

    alone = ended_and_deleted("alone")
    uploaded_too = ended_and_deleted("uploaded too")
    datasets.add(OWNER, new_dataset("uploaded too"))
    found_by_an_upload = ended_and_deleted("found by an upload")
    assert not datasets.keep(OWNER, found_by_an_upload).inline
    split_of_another = ended_and_deleted("split of another")
    jobs.submit(OWNER, PlannedJob(new_job(), new_dataset("other"), other_dataset_ids=[split_of_another]))
    in_use, _ = jobs.submit(OWNER, PlannedJob(new_job(), new_dataset("in use", inline=True)))
    assert retention.delete_inline(timedelta(hours=1)) == []
    assert retention.delete_inline(timedelta(seconds=-1)) == ["datasets/alone"]
    with pytest.raises(errors.DatasetNotFound):
        datasets.get(OWNER, alone)
    for kept in (uploaded_too, found_by_an_upload, split_of_another, in_use.dataset_id):
        assert datasets.get(OWNER, kept)
    assert retention.delete_inline(timedelta(seconds=-1)) == []
