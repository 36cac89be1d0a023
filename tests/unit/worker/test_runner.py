"""Jobs of a worker from claim to outcome, in this process."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
import torch

from service.datasets.dataset import TabularDataset
from service.errors import Unavailable
from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import ClaimStore
from service.storage.job_record import Job
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from service.worker.runner import MIN_COMPANIONS, Runner
from tests.support.records import OWNER, new_dataset, new_job
from tests.support.script import threads
from tests.support.supervisor import RecordingSupervisor
from tests.support.toys import training

STANDARDIZED = {
    "features": ["x"],
    "targets": ["y"],
    "transforms": [{"type": "standardize", "columns": ["x", "y"]}],
}
PLAIN = {"features": ["x"], "targets": ["y"]}
LINE = {"type": "sequential", "layers": [{"type": "Linear", "in_features": 1, "out_features": 1}]}


class Claims(ClaimStore):
    """A store that loses the answer of its first claim after the commit."""

    was_lost = False

    def claim(
        self, worker_id: str, devices: Collection[str], lease_seconds: float, processes: int = 1
    ) -> Job | None:
        """Claim a job; raise `Unavailable` the first time."""
        job = super().claim(worker_id, devices, lease_seconds, processes)
        if not self.was_lost:
            self.was_lost = True
            raise Unavailable()
        return job


def runner_on(storage: Storage, tmp_path: Path) -> Runner:
    """Make a runner without jobs."""
    return Runner("w", torch.device("cpu"), Settings(data_dir=tmp_path), storage, RecordingSupervisor())


def submitted(storage: Storage, table: pa.Table, data: dict[str, Any], engine: str, **section: Any) -> Job:
    """Queue a job of one epoch."""
    artifact = storage.artifacts.put("datasets", TabularDataset(table).to_bytes())
    request = {
        "data": data,
        "architecture": LINE,
        "training": training(epochs=1, **section).model_dump(mode="json"),
        "precision": "float32",
    }
    new = new_job(
        request=orjson.dumps(request).decode(),
        report='{"output_width": 1}',
        used=orjson.dumps({"device": "cpu", "engine": engine, "threads": 1}).decode(),
        epochs=1,
    )
    job, _ = storage.jobs.submit(OWNER, PlannedJob(new, replace(new_dataset(), artifact=artifact)))
    return job


def checkpoint_of_fit(storage: Storage, runner: Runner, table: pa.Table, data: dict[str, Any]) -> Checkpoint:
    """Run a job on a table; return its checkpoint."""
    job = submitted(storage, table, data, "eager")
    assert runner.run_next()
    (saved,) = storage.checkpoints.of_job(OWNER, job.id)
    return Checkpoint.from_bytes(storage.artifacts.get(saved.artifact))


def test_transforms_are_fitted_with_the_threads_of_the_job(storage: Storage, tmp_path: Path) -> None:
    """The first job of a worker fits its transforms with the same bits as the second."""
    # Sums of many rows depend on the number of threads, which the worker must set before it fits transforms.
    x = np.random.default_rng(0).normal(3.0, 7.0, 100_000)
    table, runner = pa.table({"x": x, "y": 2 * x}), runner_on(storage, tmp_path)
    with threads(2):
        first, second = (checkpoint_of_fit(storage, runner, table, STANDARDIZED) for _ in range(2))
    assert first.encoding == second.encoding


def test_a_job_whose_claim_was_not_answered_is_claimed_again(storage: Storage, tmp_path: Path) -> None:
    """A worker that lost the answer of a claim releases the job without blame and claims it again."""
    job, _ = storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    runner = runner_on(replace(storage, claims=Claims(storage.database)), tmp_path)
    with pytest.raises(Unavailable):
        runner.run_next()
    assert storage.jobs.get(OWNER, job.id).status is JobStatus.RUNNING
    assert runner.run_next()
    ended = storage.jobs.get(OWNER, job.id)
    assert (ended.status, ended.attempt, ended.workers_lost) == (JobStatus.FAILED, 2, 0)  # an invalid request
    assert not runner.run_next()


@pytest.mark.usefixtures("jax_is_set_up")
def test_a_job_of_another_program_is_released_from_its_group(storage: Storage, tmp_path: Path) -> None:
    """A group trains without a job that turns out to need another program, which then trains alone."""
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]})
    runner = runner_on(storage, tmp_path)
    alike = [submitted(storage, table, PLAIN, "compiled", loss="MSELoss") for _ in range(MIN_COMPANIONS + 1)]
    other = submitted(storage, table, PLAIN, "compiled", loss="L1Loss")
    assert runner.run_next()
    jobs = [storage.jobs.get(OWNER, job.id) for job in alike]
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.SUCCEEDED, 1)}
    released = storage.jobs.get(OWNER, other.id)
    assert (released.status, released.attempt, released.workers_lost) == (JobStatus.QUEUED, 1, 0)
    lines = [line.message for line in storage.logs.of_job(OWNER, other.id, 100)]
    assert "It needs another program than the group that it was claimed for." in lines[-1]
    assert runner.run_next()
    assert storage.jobs.get(OWNER, other.id).status is JobStatus.SUCCEEDED


def test_a_job_whose_data_cannot_be_read_is_released(storage: Storage, tmp_path: Path) -> None:
    """A worker without access to the artifacts releases its job, and claims none until it has access."""
    settings = Settings(data_dir=tmp_path, storage_patience_seconds=0)
    supervisor = RecordingSupervisor()
    runner = Runner("w", torch.device("cpu"), settings, storage, supervisor)
    job = submitted(storage, pa.table({"x": [1.0, 2.0], "y": [1.0, 2.0]}), PLAIN, "eager")
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    assert runner.run_next()
    released = storage.jobs.get(OWNER, job.id)
    assert (released.status, released.worker_id, released.workers_lost) == (JobStatus.QUEUED, None, 0)
    with pytest.raises(Unavailable):
        runner.run_next()
    assert storage.jobs.get(OWNER, job.id).attempt == released.attempt
    (tmp_path / "elsewhere").rename(tmp_path / "artifacts")
    assert runner.run_next()
    assert storage.jobs.get(OWNER, job.id).status is JobStatus.SUCCEEDED
