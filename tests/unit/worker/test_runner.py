"""A worker's jobs from their claim to their end, in this process."""

from collections.abc import Collection, Iterator
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
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from service.worker.runner import Runner
from tests.support.records import OWNER, new_dataset, new_job
from tests.support.supervisor import RecordingSupervisor
from tests.support.toys import training

STANDARDIZED = {
    "features": ["x"],
    "targets": ["y"],
    "transforms": [{"type": "standardize", "columns": ["x", "y"]}],
}
LINE = {"type": "sequential", "layers": [{"type": "Linear", "in_features": 1, "out_features": 1}]}


class Claims(ClaimStore):
    """The first claim is committed, and its answer lost."""

    was_lost = False

    def claim(self, worker_id: str, devices: Collection[str], lease_seconds: float) -> Job | None:
        """See `ClaimStore`."""
        job = super().claim(worker_id, devices, lease_seconds)
        if not self.was_lost:
            self.was_lost = True
            raise Unavailable()
        return job


def runner_on(storage: Storage, tmp_path: Path) -> Runner:
    """Make a runner without jobs."""
    return Runner("w", torch.device("cpu"), Settings(data_dir=tmp_path), storage, RecordingSupervisor())


@pytest.fixture
def two_threads() -> Iterator[None]:
    """The process has two threads to compute with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def ended(storage: Storage, runner: Runner, table: pa.Table, data: dict[str, Any]) -> Checkpoint:
    """What a job of a fit has ended with."""
    artifact = storage.artifacts.put("datasets", TabularDataset(table).to_bytes())
    request = {
        "data": data,
        "architecture": LINE,
        "training": training(epochs=1).model_dump(mode="json"),
        "precision": "float32",
    }
    new = new_job(
        request=orjson.dumps(request).decode(),
        report='{"output_width": 1}',
        used='{"device": "cpu", "engine": "eager", "threads": 1}',
        epochs=1,
    )
    job, _ = storage.jobs.submit(OWNER, new, replace(new_dataset(), artifact=artifact))
    assert runner.run_next()
    (saved,) = storage.checkpoints.of_job(OWNER, job.id)
    return Checkpoint.from_bytes(storage.artifacts.get(saved.artifact))


@pytest.mark.usefixtures("two_threads")
def test_the_first_job_of_a_worker_is_like_those_after_it(storage: Storage, tmp_path: Path) -> None:
    """Sums of many rows have other bits in other numbers of threads: what is fitted has the job's, too."""
    x = np.random.default_rng(0).normal(3.0, 7.0, 100_000)
    table, runner = pa.table({"x": x, "y": 2 * x}), runner_on(storage, tmp_path)
    first, second = (ended(storage, runner, table, STANDARDIZED).encoding for _ in range(2))
    assert first == second


def test_a_job_whose_claim_was_not_answered_is_claimed_again(storage: Storage, tmp_path: Path) -> None:
    """It goes back without blame as soon as the worker looks for work again, and is the next it takes."""
    job, _ = storage.jobs.submit(OWNER, new_job(), new_dataset())
    runner = runner_on(replace(storage, claims=Claims(storage.database)), tmp_path)
    with pytest.raises(Unavailable):
        runner.run_next()
    assert storage.jobs.get(OWNER, job.id).status is JobStatus.RUNNING
    assert runner.run_next()
    ended = storage.jobs.get(OWNER, job.id)  # its request is none
    assert (ended.status, ended.attempt, ended.workers_lost) == (JobStatus.FAILED, 2, 0)
    assert not runner.run_next()
