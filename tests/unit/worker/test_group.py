"""Groups of jobs of which one is reclaimed."""

from pathlib import Path

import pytest
import torch

from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.engines.factory import EngineFactory
from service.worker import recorder as recording
from service.worker.attempt import Attempt
from service.worker.group import train_group
from service.worker.recorder import Recorder
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.supervisor import RecordingSupervisor
from tests.support.toys import VALUES, engine, training

EPOCHS = 20_000


@pytest.mark.usefixtures("jax_is_set_up")
def test_a_reclaimed_job_leaves_the_others(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a job is reclaimed between a record and a checkpoint, the others succeed at their first attempt."""
    monkeypatch.setattr(recording, "RECORD_SECONDS", 0.0)
    settings = Settings(data_dir=tmp_path, checkpoint_seconds=0.001)
    for _ in range(3):
        storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    held = [claimed(storage.claims) for _ in range(3)]
    lost, *others = [job.id for job in held]

    def reclaim(job_id: str) -> None:
        if storage.jobs.get(OWNER, lost).status is JobStatus.RUNNING:
            storage.claims.release(Claim.of(held[0]))

    components = [engine(training(epochs=EPOCHS, seed=seed)).components for seed in range(3)]
    group = EngineFactory(torch.device("cpu"), 1, tmp_path / "compiled").make_group(components)
    attempts = [
        Attempt(job, Claim.of(job), member, VALUES.prepared(), 0.0)
        for job, member in zip(held, group.members, strict=True)
    ]
    supervisor = RecordingSupervisor(on_job_changed=reclaim)
    train_group(attempts, group, Recorder(settings, storage, supervisor), supervisor)
    assert storage.jobs.get(OWNER, lost).status is JobStatus.QUEUED
    ended = [storage.jobs.get(OWNER, job_id) for job_id in others]
    assert [(job.status, job.attempt, job.epoch) for job in ended] == [(JobStatus.SUCCEEDED, 1, EPOCHS)] * 2
