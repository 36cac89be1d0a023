"""A worker's jobs from their claim to their end, in this process."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
import torch

from service.datasets.dataset import TabularDataset
from service.jobs.runner import Runner
from service.settings import Settings
from service.storage.migrate import migrate
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint
from tests.contracts.samples import OWNER, new_dataset, new_job
from tests.training.toys import training

STANDARDIZED = {
    "features": ["x"],
    "targets": ["y"],
    "transforms": [{"type": "standardize", "columns": ["x", "y"]}],
}
LINE = {"type": "sequential", "layers": [{"type": "Linear", "in_features": 1, "out_features": 1}]}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A database and a folder of artifacts."""
    with Storage.open(Settings(data_dir=tmp_path)) as storage:
        migrate(storage.database)
        yield storage


@pytest.fixture
def runner(storage: Storage, tmp_path: Path) -> Iterator[Runner]:
    """A worker that has run nothing yet, in a process of two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Runner(
        "w",
        torch.device("cpu"),
        Settings(data_dir=tmp_path),
        storage,
        threading.Event(),
        lambda job_id: None,
        lambda job_id, seconds_left: None,
    )
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


def test_the_first_job_of_a_worker_is_like_those_after_it(storage: Storage, runner: Runner) -> None:
    """Sums of many rows have other bits in other numbers of threads: what is fitted has the job's, too."""
    x = np.random.default_rng(0).normal(3.0, 7.0, 100_000)
    table = pa.table({"x": x, "y": 2 * x})
    first, second = (ended(storage, runner, table, STANDARDIZED).encoding for _ in range(2))
    assert first == second
