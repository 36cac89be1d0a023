"""Shutdown of the service, and its behaviour while the database is silent or unavailable."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.app import KILL_SECONDS
from service.settings import Settings
from service.storage.storage import Storage
from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.long_fits import interruptible
from tests.support.postgres import Postgres, running_postgres
from tests.support.server import Service, contents, until

# A service whose database is silent takes all of it, since its job can't be released.
GRACE_SECONDS = 4.0
AWAY_SECONDS = 8.0
# A worker ends its step and writes a checkpoint; the rest allows for busy machines.
SOON_SECONDS = 5.0
# Time limit of a statement and of a new connection; the rest is a margin for busy machines.
STATEMENT_SECONDS = 4.0
SILENT_SECONDS = 2 * STATEMENT_SECONDS + 5.0
# More than the threads of the service.
POLLERS = 80
OWNER = "default"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Start a Postgres server for the tests of this module."""
    with running_postgres() as server:
        yield server


@dataclass(frozen=True)
class Started:
    """A service that was started before its database, and is ready now.

    Attributes:
        service: The service.
        database_url: URL of its database.
        early: Its answers to a probe and to a submission before its database was started.
    """

    service: Service
    database_url: str
    early: tuple[httpx.Response, httpx.Response]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Started]:
    """Start a service with short leases and a short grace period, and that Postgres server after it."""
    url = postgres.new_database("remote")
    service = Service(
        tmp_path_factory.mktemp("remote") / "service",
        workers=1,
        helpers=1,
        lease_seconds=3,
        heartbeat_seconds=0.5,
        checkpoint_seconds=1000,
        shutdown_grace_seconds=GRACE_SECONDS,
        database_timeout_seconds=STATEMENT_SECONDS,
        database_url=url,
    )
    postgres.stop()
    try:
        service.launch()
        early = service.client.get("/readyz"), service.submit(thermometer())
    finally:
        postgres.start()
    until(service.is_ready)
    yield Started(service, url, early)
    service.stop()


@pytest.fixture
def remote_service(started: Started) -> Service:
    """That service."""
    return started.service


def half_sent(service: Service) -> socket.socket:
    """Open a connection with a request whose body is incomplete."""
    connection = socket.create_connection((service.client.base_url.host, service.client.base_url.port or 0))
    connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    return connection


def collect_lines(service: Service, job_id: str, lines: list[str]) -> None:
    """Append all lines of the event stream of a job, with comments, to `lines`."""
    with httpx.stream("GET", f"{service.client.base_url}/v1/jobs/{job_id}/events", timeout=60.0) as response:
        lines.extend(response.iter_lines())


def test_an_open_request_does_not_delay_the_release_of_jobs(started: Started) -> None:
    """SIGTERM ends open streams, and saves and releases a job, at once; a restart loses nothing."""
    service = started.service
    ended = service.succeeded(thermometer(SEQUENTIAL, epochs=50))
    before = contents(service, ended)
    undisturbed = service.succeeded(interruptible())
    job_id = service.running(interruptible())
    queued = [service.queued(thermometer(epochs=5)) for _ in range(3)]
    settings = Settings(data_dir=service.data_dir, database_url=started.database_url)
    with half_sent(service), Storage.open(settings) as storage, ThreadPoolExecutor(1) as listener:
        lines: list[str] = []
        followed = listener.submit(collect_lines, service, job_id, lines)
        until(lambda: lines)
        service.client.get("/livez")  # the incomplete request has arrived before this one
        assert storage.checkpoints.of_job(OWNER, job_id) == []
        begin = time.monotonic()
        service.terminate()
        until(lambda: storage.jobs.get(OWNER, job_id).status == "queued", GRACE_SECONDS)
        followed.result(SOON_SECONDS)
        assert time.monotonic() - begin < SOON_SECONDS
        assert service.process.is_running()  # the service waits for the open request
        job = storage.jobs.get(OWNER, job_id)
        assert (job.attempt, job.workers_lost, job.finished_at) == (1, 0, None)
        (saved,) = storage.checkpoints.of_job(OWNER, job_id)
        assert 0 < saved.epoch <= job.epoch
        service.wait()
        assert time.monotonic() - begin < GRACE_SECONDS + SOON_SECONDS
    service.start()
    assert contents(service, ended) == before
    jobs = [service.ended(each) for each in (job_id, *queued)]
    assert [(each["status"], each["attempt"]) for each in jobs] == [("succeeded", 2), *[("succeeded", 1)] * 3]
    assert service.log.read_text().count("job resumed") == 1
    assert service.history(job_id) == service.history(undisturbed["id"])
    assert service.parameters(job_id) == service.parameters(undisturbed["id"])


def test_a_silent_database_blocks_neither_requests_nor_shutdown(
    remote_service: Service, postgres: Postgres
) -> None:
    """While Postgres is frozen requests are 503 in bounded time and the service stops in its grace period."""
    service = remote_service
    job_id = service.running(thermometer(epochs=LONG))
    with postgres.frozen(), ThreadPoolExecutor(POLLERS) as clients:
        begin = time.monotonic()
        for answer in clients.map(service.client.get, (f"/v1/jobs/{job_id}", "/v1/system")):
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert time.monotonic() - begin < SILENT_SECONDS
        until(lambda: not service.is_ready(), SILENT_SECONDS)  # it remembers that it was ready for seconds
        polls = [clients.submit(service.client.get, f"/v1/jobs/{job_id}") for _ in range(POLLERS)]
        begin = time.monotonic()
        assert service.client.get("/livez").status_code == httpx.codes.OK
        assert time.monotonic() - begin < SOON_SECONDS
        assert not any(poll.done() for poll in polls)
        begin = time.monotonic()
        service.stop()
        assert time.monotonic() - begin < GRACE_SECONDS + KILL_SECONDS + SOON_SECONDS
    service.start()
    assert service.cancelled(job_id)[0]["status"] == "cancelled"


def test_jobs_survive_an_unavailable_database(remote_service: Service, postgres: Postgres) -> None:
    """While Postgres is down requests are 503 and streams stay open; afterwards all jobs finish."""
    service = remote_service
    with ThreadPoolExecutor(1) as listener:
        running = service.running(thermometer(epochs=LONG, max_runtime_seconds=AWAY_SECONDS + 5))
        queued = service.queued(thermometer(epochs=3))
        epoch = service.job(running)["progress"]["epoch"]
        lines: list[str] = []
        followed = listener.submit(collect_lines, service, running, lines)
        until(lambda: lines)
        postgres.stop()
        begin = time.monotonic()
        while time.monotonic() - begin < AWAY_SECONDS:
            response = service.client.get(f"/v1/jobs/{running}")
            assert response.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert int(response.headers["Retry-After"]) > 0
            assert service.client.get("/livez").status_code == httpx.codes.OK
            time.sleep(0.5)
        postgres.start()
        until(service.is_ready)
        jobs = [service.ended(job_id) for job_id in (running, queued)]
        assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 1)] * 2
        assert jobs[0]["progress"]["epoch"] > epoch
        followed.result()
        assert "event: end" in lines
        epochs = service.history(running)["epochs"]
        assert epochs == list(range(1, jobs[0]["progress"]["epoch"] + 1))


def test_a_service_may_start_before_its_database(started: Started) -> None:
    """A service that starts before Postgres answers 503 until Postgres is available."""
    ready, refused = started.early
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert "failed: " in ready.json()["checks"]["database"]  # Postgres' own words
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert started.service.succeeded(thermometer(epochs=3))


def test_a_service_that_was_never_ready_stops(postgres: Postgres, tmp_path: Path) -> None:
    """A service whose database never answers stops on SIGTERM."""
    url = postgres.new_database("never")
    postgres.stop()
    try:
        Service(tmp_path / "service", workers=0, helpers=1, database_url=url).launch().stop()
    finally:
        postgres.start()
