"""Several service processes on one database: each supervises its own workers and reclaims jobs of all.

On SQLite they share a data folder; on Postgres they share only an object store, like separate machines.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.events import reported_epochs, stream_events
from tests.support.long_fits import CANCEL_SECONDS, interruptible, start_long_step
from tests.support.postgres import Postgres
from tests.support.processes import wait_for_workers, workers
from tests.support.server import START_SECONDS, Service, WorkerProcess, until

LEASE_SECONDS, TAKEOVER_SECONDS = 2, 10
SETTINGS = {
    "helpers": 1,
    "spare_workers": 0,
    "lease_seconds": LEASE_SECONDS,
    "heartbeat_seconds": 0.3,
    "checkpoint_seconds": 0.1,
}


@dataclass
class Site:
    """A service without workers, and a process of one worker beside it."""

    folder: Path
    url: str
    settings: dict[str, Any]
    stack: ExitStack
    service: Service = field(init=False)
    first: WorkerProcess = field(init=False)

    def __post_init__(self) -> None:
        self.first = self._process("first")
        self.service = Service(self._data_dir("service"), workers=0, **self.settings)
        self.service.start()  # it becomes ready since a worker exists
        self.stack.callback(self.service.stop)

    def _data_dir(self, name: str) -> Path:
        return self.folder / (name if "artifacts_url" in self.settings else "data")

    def _process(self, name: str) -> WorkerProcess:
        process = WorkerProcess(self._data_dir(name), name, health_port=0, **self.settings)
        self.stack.callback(process.stop)
        return process

    @cached_property
    def second(self) -> WorkerProcess:
        """Another process of one worker, started and ready."""
        process = self._process("second")
        until(lambda: len(workers(self.service)) == 2, START_SECONDS)
        return process

    @cached_property
    def undisturbed(self) -> dict[str, Any]:
        """A job that nothing has disturbed."""
        return self.service.succeeded(interruptible())

    def freeze(self, process: WorkerProcess) -> None:
        """Suspend all processes of a worker process while none holds a lock of the database."""

        def frozen() -> bool:
            for each in process.processes:
                each.suspend()
            if self._is_locked():
                process.thaw()
                return False
            return True

        until(frozen)

    def _is_locked(self) -> bool:
        is_sqlite = self.url.startswith("sqlite")
        engine = create_engine(self.url, connect_args={"timeout": 0.5} if is_sqlite else {})
        lock = "BEGIN EXCLUSIVE" if is_sqlite else "LOCK TABLE jobs, workers IN EXCLUSIVE MODE NOWAIT"
        try:
            with engine.connect() as connection:
                connection.execute(text(lock))
                connection.rollback()
        except OperationalError:
            return True
        finally:
            engine.dispose()
        return False


@pytest.fixture(scope="module", params=[pytest.param("sqlite", marks=pytest.mark.exhaustive), "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the processes on each database."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        settings: dict[str, Any] = dict(SETTINGS)
        url = f"sqlite:///{folder / 'data' / 'fitserve.db'}"
        if request.param == "postgresql":
            postgres = Postgres(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.callback(postgres.close)
            url = settings["database_url"] = postgres.new_database("site")
            objects = folder / "objects"
            objects.mkdir()
            settings["artifacts_url"] = objects.as_uri()
        yield Site(folder, url, settings, stack)


def test_a_job_inside_a_long_step_elsewhere_is_cancelled_soon(site: Site) -> None:
    """A job in a long step of another process is cancelled within two seconds."""
    job_id = start_long_step(site.service)
    (before,) = {worker.pid for worker in wait_for_workers(site.service, 1)}
    begin = time.monotonic()
    site.service.client.post(f"/v1/jobs/{job_id}/cancel")
    job = site.service.ended(job_id)
    assert time.monotonic() - begin < CANCEL_SECONDS
    assert (job["status"], job["stop_reason"], job["error"]) == ("cancelled", "cancelled", None)
    until(lambda: [worker.pid for worker in workers(site.service)] not in ([], [before]))


def test_a_process_without_an_api_answers_probes(site: Site) -> None:
    """`fitserve worker --health-port` answers `/livez` and `/readyz`, and nothing else."""
    (url,) = re.findall(r'"(http://[^"]+)", "event": "health"', site.first.log.read_text())
    wait_for_workers(site.service, 1)
    for path, checks in (
        ("/livez", {}),
        ("/readyz", {"database": "ok", "artifacts": "ok"}),
        ("/readyz?workers=true", {"database": "ok", "artifacts": "ok", "workers": "ok"}),
    ):
        response = httpx.get(url + path)
        assert (response.status_code, response.json()["checks"]) == (200, checks)
    assert httpx.get(f"{url}/v1/jobs").status_code == 404


def test_events_report_a_job_of_another_process(site: Site) -> None:
    """Events report all epochs and the end of a job that trains in another process."""
    job_id = site.service.queued(interruptible(epochs=500))
    events = list(stream_events(site.service, f"/v1/jobs/{job_id}/events"))
    assert (events[-1].type, events[-1].data) == ("end", site.service.job(job_id))
    reported = reported_epochs(events)
    assert (reported, reported[-1]) == (sorted(set(reported)), 500)


def test_a_thawed_worker_cannot_write(site: Site) -> None:
    """The writes of a thawed worker are refused after another worker has reclaimed its job."""
    service = site.service
    twin = site.undisturbed
    second = site.second
    site.freeze(second)  # so that the first claims the job
    job_id = service.saved(interruptible())
    second.thaw()
    site.freeze(site.first)
    begin = time.monotonic()
    until(lambda: service.job(job_id)["attempt"] == 2)
    assert time.monotonic() - begin < LEASE_SECONDS + TAKEOVER_SECONDS
    job = service.ended(job_id)
    assert job["status"] == "succeeded"
    assert service.began_at(job_id) > 0
    before = service.job(job_id), service.read(f"/v1/jobs/{job_id}/checkpoints")
    site.first.thaw()
    until(lambda: any(event in site.first.log.read_text() for event in ('"claim lost"', '"worker killed"')))
    assert (service.job(job_id), service.read(f"/v1/jobs/{job_id}/checkpoints")) == before
    assert service.history(job_id) == service.history(twin["id"])
    assert service.parameters(job_id) == service.parameters(twin["id"])
    until(lambda: len(workers(service)) == 2)


def test_a_stopped_process_releases_its_job(site: Site) -> None:
    """SIGTERM makes a process save and release its job, which another process continues."""
    service = site.service
    twin = site.undisturbed
    second = site.second
    site.freeze(site.first)  # so that the second claims the job
    job_id = service.saved(interruptible())
    second.stop()
    waiting = service.job(job_id)
    assert (waiting["status"], waiting["attempt"]) == ("queued", 1)
    site.first.thaw()
    job = service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert service.began_at(job_id) == waiting["progress"]["epoch"] > 0
    lines = service.read(f"/v1/jobs/{job_id}/logs")["items"]
    assert {line["level"] for line in lines} == {"info"}
    assert service.history(job_id) == service.history(twin["id"])
    assert service.parameters(job_id) == service.parameters(twin["id"])
