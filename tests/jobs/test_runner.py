"""A worker's claims, when the database's answers get lost."""

import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.errors import Unavailable
from service.jobs.runner import Runner
from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import ClaimStore
from service.storage.job_record import Job
from service.storage.migrate import migrate
from service.storage.storage import Storage
from tests.contracts.samples import OWNER, new_dataset, new_job


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


def test_a_job_whose_claim_was_not_answered_is_claimed_again(tmp_path: Path) -> None:
    """It goes back without blame as soon as the worker looks for work again, and is the next it takes."""
    settings, told = Settings(data_dir=tmp_path), []
    with Storage.open(settings) as storage:
        migrate(storage.database)
        job, _ = storage.jobs.submit(OWNER, new_job(), new_dataset())
        lossy = replace(storage, claims=Claims(storage.database))
        device, stopping = torch.device("cpu"), threading.Event()
        runner = Runner("w", device, settings, lossy, stopping, told.append, told.append, lambda *_: None)
        with pytest.raises(Unavailable):
            runner.run_next()
        assert storage.jobs.get(OWNER, job.id).status is JobStatus.RUNNING
        assert runner.run_next()
        ended = storage.jobs.get(OWNER, job.id)
        assert (ended.status, ended.attempt, ended.workers_lost) == (
            JobStatus.FAILED,
            2,
            0,
        )  # it is no request
        assert set(told) == {job.id}
        assert not runner.run_next()
