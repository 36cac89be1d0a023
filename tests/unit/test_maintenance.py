"""Pruning deletes old jobs and unreferenced artifacts, and keeps all that is in use."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service import errors
from service.maintenance import LEASE, Housekeeper, Pruned, prune
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, Ending
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from tests.support.records import DONE, OWNER, claimed, new_dataset, new_job
from tests.support.server import until

NOW = timedelta(seconds=-1)
NOTHING = Pruned(jobs=0, datasets=0, artifacts=0)


def test_an_unreferenced_artifact_is_deleted(storage: Storage) -> None:
    """An old artifact that no row names is deleted; named ones and those with other prefixes stay."""
    storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    claim = Claim.of(claimed(storage.claims))
    kept = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"published")
    storage.claims.save_checkpoint(claim, NewCheckpoint(1, kept, 9))
    unreferenced = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"unreferenced")
    foreign = storage.artifacts.put("elsewhere", b"of another program")
    assert prune(storage, age=None) == NOTHING  # not old enough: it may be published soon
    assert prune(storage, age=None, unused=NOW) == NOTHING  # its job is running
    storage.claims.release(claim)
    assert prune(storage, age=None, unused=NOW) == Pruned(jobs=0, datasets=0, artifacts=1)
    assert storage.artifacts.get(kept) == b"published"
    assert storage.artifacts.get(foreign) == b"of another program"
    with pytest.raises(errors.ArtifactNotFound):
        storage.artifacts.get(unreferenced)


def test_an_old_job_is_deleted_with_its_checkpoints(storage: Storage) -> None:
    """A job that ended long enough ago is deleted with its artifacts; by default none is."""
    storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    claim = Claim.of(claimed(storage.claims))
    artifact = storage.artifacts.put(f"checkpoints/{claim.job_id}", b"x")
    storage.claims.finish(Ending(claim, DONE, checkpoints=[NewCheckpoint(1, artifact, 1)]))
    assert prune(storage, age=None) == prune(storage, age=timedelta(days=1)) == NOTHING
    assert prune(storage, age=NOW) == Pruned(jobs=1, datasets=0, artifacts=1)
    with pytest.raises(errors.ArtifactNotFound):
        storage.artifacts.get(artifact)


def test_an_inline_dataset_is_deleted_after_its_last_job(storage: Storage) -> None:
    """An old inline dataset that no job uses is deleted with its artifact."""
    artifact = storage.artifacts.put("datasets", b"x")
    inline = replace(new_dataset(), artifact=artifact, inline=True)
    job, _ = storage.jobs.submit(OWNER, PlannedJob(new_job(), inline))
    storage.claims.finish(Ending(Claim.of(claimed(storage.claims)), DONE))
    assert prune(storage, age=None, unused=NOW) == NOTHING
    storage.jobs.delete(OWNER, job.id)
    assert prune(storage, age=None) == NOTHING
    assert prune(storage, age=None, unused=NOW) == Pruned(jobs=0, datasets=1, artifacts=1)
    with pytest.raises(errors.ArtifactNotFound):
        storage.artifacts.get(artifact)


def test_the_command_prunes_once(storage: Storage, tmp_path: Path) -> None:
    """`fitserve prune` deletes jobs that are old enough, and prints the numbers."""
    job, _ = storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
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


def test_one_of_several_processes_prunes(storage: Storage) -> None:
    """A housekeeper holds a lease until it is closed; another one leaves the work to it."""
    first = Housekeeper(storage, NOW)
    record = until(lambda: storage.leases.read(LEASE))
    storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    storage.claims.finish(Ending(Claim.of(claimed(storage.claims)), DONE))
    Housekeeper(storage, NOW).close()
    assert storage.leases.read(LEASE) == record
    first.close()
    released = storage.leases.read(LEASE)
    assert released is not None
    assert not released.is_held
