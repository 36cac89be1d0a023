"""The local executor with real workers, without the rest of the service."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Connection

from service.executors.local.executor import LocalExecutor
from service.processes.child import Child
from service.processes.spawn import Spawner
from service.processes.starter import Starter, make_starter
from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import Claim
from service.storage.database import Database
from service.storage.planned_job import PlannedJob
from service.storage.prepare import prepare
from service.storage.storage import Storage
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.server import until
from tests.support.small_worker import MODULE


def settings_in(folder: Path, workers: int, grace_seconds: float = 10.0) -> Settings:
    """Return settings with frequent scans and short leases."""
    return Settings(
        data_dir=folder,
        workers=workers,
        spare_workers=0,
        gpu_workers=False,
        lease_seconds=6,
        heartbeat_seconds=2,
        scan_seconds=0.05,
        shutdown_grace_seconds=grace_seconds,
    )


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    """A starter of worker processes."""
    settings = Settings()
    with closing(make_starter(settings, ["service.worker.main"])) as starter:
        yield starter


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """A migrated database and a folder of artifacts."""
    with Storage.open(settings_in(tmp_path, workers=0)) as storage:
        prepare(storage)
        yield storage


class SmallWorkers(Spawner):
    """Starts small workers, whatever module is asked for."""

    def start(self, module: str, settings: Settings) -> Child:
        """See `Starter`."""
        return super().start(MODULE, settings)


class BlockableDatabase(Database):
    """A database whose reads block while `responsive` is cleared; `blocked` is set once one does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.responsive, self.blocked = threading.Event(), threading.Event()
        self.responsive.set()

    def read(self) -> AbstractContextManager[Connection]:
        """See `Database`."""
        if not self.responsive.is_set():
            self.blocked.set()
            self.responsive.wait()
        return super().read()


def test_workers_receive_the_stop_order_while_supervision_waits(
    storage: Storage, starter: Starter, tmp_path: Path
) -> None:
    """Workers get the whole grace period even if a scan is waiting for the database."""
    database = BlockableDatabase(storage.database.url)
    executor = LocalExecutor(settings_in(tmp_path, workers=1), "test", database, starter)
    closing = threading.Thread(target=executor.close)
    try:
        (worker,) = until(lambda: storage.workers.alive(60))
        database.responsive.clear()
        assert database.blocked.wait(10)
        closing.start()
        until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE)
        assert closing.is_alive()
    finally:
        database.responsive.set()
        if closing.ident is None:
            executor.close()
        else:
            closing.join()


def test_leases_that_expired_before_the_start_may_be_renewed(
    storage: Storage, starter: Starter, tmp_path: Path
) -> None:
    """A live worker can renew its lease after the database was away; other leases are reclaimed."""
    for _ in range(2):
        storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    kept, lost = (Claim.of(claimed(storage.claims, lease_seconds=0.01)) for _ in range(2))
    time.sleep(0.05)
    scans: list[None] = []
    executor = LocalExecutor(
        settings_in(tmp_path, workers=0),
        "test",
        Database(storage.database.url),
        starter,
        on_scan=lambda: scans.append(None),
    )
    try:
        until(lambda: len(scans) > 2)
        assert set(storage.claims.renew([kept], 30)) == {kept}
        until(lambda: storage.jobs.get(OWNER, lost.job_id).status is JobStatus.QUEUED)
        assert storage.jobs.get(OWNER, kept.job_id).status is JobStatus.RUNNING
    finally:
        executor.close()


def test_a_worker_that_sends_an_unknown_message_is_replaced(storage: Storage, tmp_path: Path) -> None:
    """The worker is killed, its job is released with the reason, and the replacement claims it."""
    job, _ = storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    database = Database(storage.database.url)
    changed: list[str] = []
    executor = LocalExecutor(
        settings_in(tmp_path, workers=1, grace_seconds=0.1),
        "test",
        database,
        SmallWorkers(),
        on_change=changed.append,
    )
    try:
        until(lambda: storage.jobs.get(OWNER, job.id).attempt == 2)
        again = storage.jobs.get(OWNER, job.id)
        assert (again.status, again.workers_lost, again.worker_id) == (JobStatus.RUNNING, 1, "test-cpu-1")
        lines = [line.message for line in storage.logs.of_job(OWNER, job.id, 100)]
        assert "It sent an unknown message and was killed." in " ".join(lines)
        assert job.id in changed
    finally:
        executor.close()


def test_requests_to_cancel_do_not_wait_for_supervision(storage: Storage, tmp_path: Path) -> None:
    """However often a job is cancelled while supervision waits for the database, no request blocks."""
    database = BlockableDatabase(storage.database.url)
    settings = settings_in(tmp_path, workers=1, grace_seconds=0.1)
    executor = LocalExecutor(settings, "test", database, SmallWorkers())
    job, _ = storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    try:
        until(lambda: storage.jobs.get(OWNER, job.id).attempt == 2)  # the first worker was replaced
        until(lambda: executor._workers[0].job_id)
        database.responsive.clear()
        assert database.blocked.wait(10)
        with ThreadPoolExecutor(1) as threads:
            try:
                threads.submit(lambda: [executor.cancel(job.id) for _ in range(10_000)]).result(20)
            finally:
                database.responsive.set()
    finally:
        database.responsive.set()
        executor.close()
