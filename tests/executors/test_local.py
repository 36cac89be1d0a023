"""Supervision, without a service around it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.executors.local import LocalExecutor
from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import Claim
from service.storage.database import Database
from service.storage.migrate import migrate
from service.storage.storage import Storage
from tests.acceptance.server import until
from tests.contracts.samples import OWNER, claimed, new_dataset, new_job


def settings_in(folder: Path, workers: int) -> Settings:
    """Of a service that looks often whether something is to be done."""
    return Settings(
        data_dir=folder,
        workers=workers,
        spare_workers=0,
        gpu_workers=False,
        lease_seconds=6,
        heartbeat_seconds=2,
        sweep_seconds=0.05,
    )


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A database and a folder of artifacts."""
    with Storage.open(settings_in(tmp_path, workers=0)) as storage:
        migrate(storage.database)
        yield storage


def test_claims_that_ran_out_before_the_start_may_be_renewed(storage: Storage, tmp_path: Path) -> None:
    """The database may just have come back: who is alive keeps its claim, who isn't loses it."""
    for _ in range(2):
        storage.jobs.submit(OWNER, new_job(), new_dataset())
    kept, lost = (Claim.of(claimed(storage.claims, lease_seconds=0.01)) for _ in range(2))
    time.sleep(0.05)
    sweeps: list[None] = []
    executor = LocalExecutor(
        settings_in(tmp_path, workers=0),
        "test",
        Database(storage.database.url),
        on_sweep=lambda: sweeps.append(None),
    )
    try:
        until(lambda: len(sweeps) > 2)
        assert set(storage.claims.renew([kept], 30)) == {kept}
        until(lambda: storage.jobs.get(OWNER, lost.job_id).status is JobStatus.QUEUED)
        assert storage.jobs.get(OWNER, kept.job_id).status is JobStatus.RUNNING
    finally:
        executor.close()
