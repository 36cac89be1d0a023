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
    """A job that was claimed, and its engine, which has trained nothing yet."""
    spec = training(**section)
    request = {
        "training": spec.model_dump(mode="json"),
        "architecture": {"type": "sequential", "layers": NET},
        "precision": "float32",
    }
    storage.jobs.submit(OWNER, new_job(request=orjson.dumps(request).decode()), new_dataset())
    job = claimed(storage.claims)
    trainer = engine(spec)
    return Attempt(job, Claim.of(job), trainer, VALUES.prepared(), 0.0), trainer


def saved(storage: Storage, run: Attempt) -> list[tuple[int, int]]:
    """The epoch and step of each of its checkpoints."""
    return [(row.epoch, row.step) for row in storage.checkpoints.of_job(OWNER, run.job.id)]


def hold_on_to(storage: Storage, run: Attempt) -> None:
    """Let no checkpoint of a run be deleted: a folder is in its file's place."""
    for row in storage.checkpoints.of_job(OWNER, run.job.id):
        path = storage.artifacts.path(row.artifact)
        path.unlink()
        path.mkdir()


def test_what_an_owner_wants_is_asked_at_once(storage: Storage, tmp_path: Path) -> None:
    """A record comes when it is time, or at a word from the parent: one record for each."""
    supervisor = RecordingSupervisor()
    recorder = Recorder(Settings(data_dir=tmp_path), storage, supervisor)
    just_now = math.inf
    assert not recorder.is_record_due(just_now)
    assert recorder.is_record_due(-math.inf)
    supervisor.signalled.set()
    assert recorder.is_record_due(just_now)
    assert not recorder.is_record_due(just_now)


def test_a_checkpoint_is_saved_though_the_one_before_stays(storage: Storage, recorder: Recorder) -> None:
    """What can't be deleted is housekeeping's: the new checkpoint is there, and nothing is warned of."""
    run, trainer = running(storage)
    for _ in range(2):
        recorder.save(run)
        hold_on_to(storage, run)
        trainer.advance(1)
    assert saved(storage, run) == [(1, 0)]
    assert (run.warnings, run.active_warnings) == ([], set())


def test_jobs_end_though_a_checkpoint_stays(storage: Storage, recorder: Recorder) -> None:
    """What can't be deleted of one of them keeps none from its end."""
    runs = []
    for _ in range(2):
        run, trainer = running(storage)
        recorder.save(run)
        hold_on_to(storage, run)
        trainer.advance(6)
        runs.append(run)
    recorder.finish_all([(run, StopReason.COMPLETED) for run in runs])
    ended = [storage.jobs.get(OWNER, run.job.id) for run in runs]
    assert [(job.status, job.epoch) for job in ended] == [(JobStatus.SUCCEEDED, 6)] * 2


@pytest.mark.parametrize("batch_size", [None, 3])
def test_what_a_job_keeps_that_diverges_is_a_whole_epoch(
    batch_size: int | None, storage: Storage, recorder: Recorder
) -> None:
    """The checkpoint is the best epoch's, is listed as such, and can be read by its number."""
    run, trainer = running(storage, optimizer={"type": "SGD", "lr": 50.0}, batch_size=batch_size, epochs=300)
    while trainer.stop_reason is None:
        trainer.advance(1)
    best = trainer.best
    assert best is not None
    recorder.finish(run, StopReason.DIVERGED)
    assert saved(storage, run) == [(best.epoch, 0)]
    kept = Models(storage).get(OWNER, run.job.id, str(best.epoch))
    assert all(torch.equal(tensor, best.state[name]) for name, tensor in kept.module.state_dict().items())
