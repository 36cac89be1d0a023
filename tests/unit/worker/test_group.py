"""Jobs that train side by side, when one of them is taken back."""

import threading
from pathlib import Path

import pytest
import torch

from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import Claim
from service.storage.migrate import migrate
from service.storage.storage import Storage
from service.training.engines.factory import Engines
from service.worker import recorder as recording
from service.worker.attempt import Run
from service.worker.group import train_together
from service.worker.recorder import Recorder
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.toys import VALUES, engine, training

EPOCHS = 20_000


def unheard(*told: object) -> None:
    """Who would listen isn't there."""


@pytest.mark.usefixtures("jax_is_set_up")
def test_a_job_that_is_taken_back_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is lost between its record and its checkpoint: the others go on to their ends, each tried once."""
    monkeypatch.setattr(recording, "RECORD_SECONDS", 0.0)
    settings = Settings(data_dir=tmp_path, checkpoint_seconds=0.001)
    with Storage.open(settings) as storage:
        migrate(storage.database)
        for _ in range(3):
            storage.jobs.submit(OWNER, new_job(), new_dataset())
        held = [claimed(storage.claims) for _ in range(3)]
        lost, *others = [job.id for job in held]

        def take_back(job_id: str) -> None:
            if storage.jobs.get(OWNER, lost).status is JobStatus.RUNNING:
                storage.claims.release(Claim.of(held[0]))

        components = [engine(training(epochs=EPOCHS, seed=seed)).components for seed in range(3)]
        group = Engines(torch.device("cpu"), 1, tmp_path / "compiled").make_group(components)
        runs = [
            Run(job, Claim.of(job), member, VALUES.prepared(), 0.0)
            for job, member in zip(held, group.members, strict=True)
        ]
        stopping = threading.Event()
        recorder = Recorder(settings, storage, stopping, threading.Event(), take_back)
        train_together(runs, group, recorder, stopping, unheard, unheard)
        assert storage.jobs.get(OWNER, lost).status is JobStatus.QUEUED
        ended = [storage.jobs.get(OWNER, job_id) for job_id in others]
        assert [(job.status, job.attempt, job.epoch) for job in ended] == [
            (JobStatus.SUCCEEDED, 1, EPOCHS)
        ] * 2
