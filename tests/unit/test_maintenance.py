"""Old jobs and forgotten artifacts go; what is in use stays."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service import errors
from service.maintenance import Pruned, prune
from service.specs.job import JobStatus, StopReason
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, Ending, Outcome
from service.storage.storage import Storage
from tests.support.records import OWNER, claimed, new_dataset, new_job

NOW = timedelta(seconds=-1)
NOTHING = Pruned(jobs=0, datasets=0, artifacts=0)
DONE = Outcome(JobStatus.SUCCEEDED, StopReason.COMPLETED)


def test_a_forgotten_artifact_goes(storage: Storage) -> None:
    """What was written and never published goes once it is old; what a row names, and other folders, stay."""
    storage.jobs.submit(OWNER, new_job(), new_dataset())
    claim = Claim.of(claimed(storage.claims))
    kept = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"published")
    storage.claims.save_checkpoint(claim, NewCheckpoint(1, kept, 9))
    forgotten = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"forgotten")
    foreign = storage.artifacts.put("elsewhere", b"not ours to judge")
    assert prune(storage, age=None) == NOTHING  # it may be published in a moment
    assert prune(storage, age=None, unused=NOW) == NOTHING  # and as long as its job runs
    storage.claims.release(claim)
    assert prune(storage, age=None, unused=NOW) == Pruned(jobs=0, datasets=0, artifacts=1)
    assert storage.artifacts.get(kept) == b"published"
    assert storage.artifacts.get(foreign) == b"not ours to judge"
    with pytest.raises(errors.ArtifactNotFound):
        storage.artifacts.get(forgotten)


def test_an_old_job_goes_with_its_checkpoints(storage: Storage) -> None:
    """A job that ended before the time is deleted, its artifacts too; without a time, none is."""
    storage.jobs.submit(OWNER, new_job(), new_dataset())
    claim = Claim.of(claimed(storage.claims))
    artifact = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"x")
    storage.claims.finish(Ending(claim, DONE, checkpoints=[NewCheckpoint(1, artifact, 1)]))
    assert prune(storage, age=None) == prune(storage, age=timedelta(days=1)) == NOTHING
    assert prune(storage, age=NOW) == Pruned(jobs=1, datasets=0, artifacts=1)
    with pytest.raises(errors.ArtifactNotFound):
        storage.artifacts.get(artifact)


def test_an_inline_dataset_goes_after_the_last_job_that_has_it(storage: Storage) -> None:
    """Data that came with jobs are deleted after them, once they are old; with their artifact."""
    artifact = storage.artifacts.put("datasets", b"x")
    inline = replace(new_dataset(), artifact=artifact, inline=True)
    job, _ = storage.jobs.submit(OWNER, new_job(), inline)
    storage.claims.finish(Ending(Claim.of(claimed(storage.claims)), DONE))
    assert prune(storage, age=None, unused=NOW) == NOTHING
    storage.jobs.delete(OWNER, job.id)
    assert prune(storage, age=None) == NOTHING
    assert prune(storage, age=None, unused=NOW) == Pruned(jobs=0, datasets=1, artifacts=1)
    with pytest.raises(errors.ArtifactNotFound):
        storage.artifacts.get(artifact)


def test_the_command_prunes_once(storage: Storage, tmp_path: Path) -> None:
    """`fitserve prune` deletes what is old enough, and says how much that was."""
    job, _ = storage.jobs.submit(OWNER, new_job(), new_dataset())
    claim = Claim.of(claimed(storage.claims))
    artifact = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"x")
    storage.claims.finish(Ending(claim, DONE, checkpoints=[NewCheckpoint(1, artifact, 1)]))

    def prune_older_than(days: float) -> str:
        command = [sys.executable, "-m", "service", "prune", "--data-dir", str(tmp_path)]
        return subprocess.check_output([*command, "--older-than-days", str(days)], text=True)

    assert prune_older_than(1) == "Deleted 0 jobs, 0 datasets and 0 artifacts.\n"
    assert storage.jobs.get(OWNER, job.id)
    assert prune_older_than(0) == "Deleted 1 jobs, 0 datasets and 1 artifacts.\n"
    with pytest.raises(errors.JobNotFound):
        storage.jobs.get(OWNER, job.id)
