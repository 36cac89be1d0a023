"""Shutdown of the service, and its behaviour while the database is silent or unavailable."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

GRACE_SECONDS = 8.0
# Of a service whose database is silent: its job can't be released, so it takes all of it.
SHORT_GRACE_SECONDS = 4.0
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


@pytest.fixture(scope="module")
def remote_service(start_module_service: Callable[..., Service], postgres: Postgres) -> Service:
    """Start a service on that Postgres server, with short leases and a short grace period."""
    return start_module_service(
        workers=1,
        helpers=1,
        lease_seconds=3,
        heartbeat_seconds=0.5,
        shutdown_grace_seconds=SHORT_GRACE_SECONDS,
        database_timeout_seconds=STATEMENT_SECONDS,
        database_url=postgres.new_database("remote"),
    )


def half_sent(service: Service) -> socket.socket:
    """Open a connection with a request whose body is incomplete."""
    connection = socket.create_connection((service.client.base_url.host, service.client.base_url.port or 0))
    connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    return connection


def test_an_open_request_does_not_delay_the_release_of_jobs(
    start_service: Callable[..., Service],
) -> None:
    """SIGTERM saves and releases a job at once although a request is open; a restart loses nothing."""
    settings = {"shutdown_grace_seconds": GRACE_SECONDS, "checkpoint_seconds": 1000}
    service = start_service(workers=1, helpers=1, **settings)
    ended = service.succeeded(thermometer(SEQUENTIAL, epochs=50))
    before = contents(service, ended)
    undisturbed = service.succeeded(interruptible(epochs=3000))
    job_id = service.running(interruptible(epochs=3000))
    queued = [service.queued(thermometer(epochs=5)) for _ in range(3)]
    with half_sent(service), Storage.open(Settings(data_dir=service.data_dir)) as storage:
        service.client.get("/livez")  # the incomplete request has arrived before this one
        assert storage.checkpoints.of_job(OWNER, job_id) == []
        begin = time.monotonic()
        service.terminate()
        until(lambda: storage.jobs.get(OWNER, job_id).status == "queued", GRACE_SECONDS)
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
    service.stop()


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
        assert time.monotonic() - begin < SHORT_GRACE_SECONDS + KILL_SECONDS + SOON_SECONDS
    service.start()
    assert service.cancelled(job_id)[0]["status"] == "cancelled"


def collect_lines(service: Service, job_id: str, lines: list[str]) -> None:
    """Append all lines of the event stream of a job, with comments, to `lines`."""
    with httpx.stream("GET", f"{service.client.base_url}/v1/jobs/{job_id}/events", timeout=60.0) as response:
        lines.extend(response.iter_lines())


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
        assert any(line.startswith(":") for line in lines)
        assert "event: end" in lines
        epochs = service.history(running)["epochs"]
        assert epochs == list(range(1, jobs[0]["progress"]["epoch"] + 1))


def test_a_service_may_start_before_its_database(postgres: Postgres, tmp_path: Path) -> None:
    """A service that starts before Postgres answers 503 until Postgres is available."""
    url = postgres.new_database("later")
    postgres.stop()
    service = Service(tmp_path / "service", workers=1, helpers=1, database_url=url).launch()
    try:
        ready = service.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert "failed: " in ready.json()["checks"]["database"]  # Postgres' own words
        refused = service.submit(thermometer())
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
        assert int(refused.headers["Retry-After"]) > 0
    finally:
        postgres.start()
    until(service.is_ready)
    assert service.succeeded(thermometer(epochs=3))
    service.stop()
    postgres.stop()
    service.launch().stop()  # a service that never became ready stops as well
    postgres.start()
