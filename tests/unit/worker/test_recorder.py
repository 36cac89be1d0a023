"""Persisting progress, checkpoints and outcomes."""

import math
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from service.helper.models import Models
from service.settings import Settings
from service.specs.job import JobStatus, StopReason
from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.engines.eager.engine import EagerEngine
from service.worker.attempt import Attempt
from service.worker.recorder import Recorder
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.supervisor import RecordingSupervisor
from tests.support.toys import NET, VALUES, engine, training


@pytest.fixture
def recorder(storage: Storage, tmp_path: Path) -> Recorder:
    """A recorder on the storage of the test."""
    return Recorder(Settings(data_dir=tmp_path), storage, RecordingSupervisor())


def running(storage: Storage, **section: Any) -> tuple[Attempt, EagerEngine]:
    """Return an attempt at a claimed job and its engine before the first step."""
    spec = training(**section)
    request = {
        "training": spec.model_dump(mode="json"),
        "architecture": {"type": "sequential", "layers": NET},
        "precision": "float32",
    }
    storage.jobs.submit(OWNER, PlannedJob(new_job(request=orjson.dumps(request).decode()), new_dataset()))
    job = claimed(storage.claims)
    trainer = engine(spec)
    return Attempt(job, Claim.of(job), trainer, VALUES.prepared(), 0.0), trainer


def saved(storage: Storage, run: Attempt) -> list[tuple[int, int]]:
    """Return the epoch and step of each checkpoint of an attempt."""
    return [(row.epoch, row.step) for row in storage.checkpoints.of_job(OWNER, run.job.id)]


def prevent_deletion(storage: Storage, run: Attempt) -> None:
    """Make the checkpoints of an attempt impossible to delete: replace their files by folders."""
    for row in storage.checkpoints.of_job(OWNER, run.job.id):
        path = storage.artifacts.path(row.artifact)
        path.unlink()
        path.mkdir()


def test_a_record_is_due_after_a_signal(storage: Storage, tmp_path: Path) -> None:
    """A record is due after an interval, or once after the supervisor has set `signalled`."""
    supervisor = RecordingSupervisor()
    recorder = Recorder(Settings(data_dir=tmp_path), storage, supervisor)
    just_now = math.inf
    assert not recorder.is_record_due(just_now)
    assert recorder.is_record_due(-math.inf)
    supervisor.signalled.set()
    assert recorder.is_record_due(just_now)
    assert not recorder.is_record_due(just_now)


def test_a_checkpoint_is_saved_if_the_one_before_cannot_be_deleted(
    storage: Storage, recorder: Recorder
) -> None:
    """A new checkpoint is saved without a warning even if the one before cannot be deleted."""
    run, trainer = running(storage)
    for _ in range(2):
        recorder.save(run)
        prevent_deletion(storage, run)
        trainer.advance(1)
    assert saved(storage, run) == [(1, 0)]
    assert (run.warnings, run.active_warnings) == ([], set())


def test_jobs_end_if_a_checkpoint_cannot_be_deleted(storage: Storage, recorder: Recorder) -> None:
    """Jobs of a group end even if a checkpoint of one cannot be deleted."""
    runs = []
    for _ in range(2):
        run, trainer = running(storage)
        recorder.save(run)
        prevent_deletion(storage, run)
        trainer.advance(6)
        runs.append(run)
    recorder.finish_all([(run, StopReason.COMPLETED) for run in runs])
    ended = [storage.jobs.get(OWNER, run.job.id) for run in runs]
    assert [(job.status, job.epoch) for job in ended] == [(JobStatus.SUCCEEDED, 6)] * 2


@pytest.mark.parametrize("batch_size", [None, 3])
def test_a_diverged_job_keeps_its_best_epoch(
    batch_size: int | None, storage: Storage, recorder: Recorder
) -> None:
    """The checkpoint of a diverged job is its best epoch, and is listed and read by that number."""
    run, trainer = running(storage, optimizer={"type": "SGD", "lr": 50.0}, batch_size=batch_size, epochs=300)
    while trainer.stop_reason is None:
        trainer.advance(1)
    best = trainer.best
    assert best is not None
    recorder.finish(run, StopReason.DIVERGED)
    assert saved(storage, run) == [(best.epoch, 0)]
    kept = Models(storage).get(OWNER, run.job.id, str(best.epoch))
    assert all(torch.equal(tensor, best.state[name]) for name, tensor in kept.module.state_dict().items())
