"""What may go, on each database."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from service import errors
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, ClaimStore, Ending, Outcome
from service.storage.database import Database
from service.storage.job_record import Job
from service.storage.jobs import JobStore
from service.storage.retention import RetentionStore
from tests.contracts.samples import OWNER, claimed

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
    assert retention.unnamed(["checkpoints/a", "checkpoints/b", "datasets/d1", "datasets/d2"]) == {
        "checkpoints/b",
        "datasets/d2",
    }
    assert retention.unnamed([]) == set()
