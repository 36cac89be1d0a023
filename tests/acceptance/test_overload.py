"""Overload: light requests stay quick, and requests beyond the limits are 503."""

import asyncio
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fits import LONG, thermometer
from tests.support.server import Service, until

# Memory of the process that serves HTTP, for each concurrent submission.
SUBMIT_BYTES = 200_000
# Limit for a light request while helpers are busy.
QUICK_SECONDS = 2.0
STALLED_BYTES = 5_000_000
# More requests than the service has threads; each takes a helper a fraction of a second.
LARGE_ROWS, LARGE_REQUESTS = 30_000, 60


@pytest.fixture(scope="module")
def hasty_service(start_module_service: Callable[..., Service]) -> Service:
    """Start a service without workers that has little memory and little time for bodies."""
    return start_module_service(workers=0, helpers=1, max_bodies_bytes=1_000_000, body_timeout_seconds=3)


def artifacts(service: Service) -> set[Path]:
    """Return all files of datasets and checkpoints."""
    return {path for path in (service.data_dir / "artifacts").rglob("*") if path.is_file()}


def inline(rows: int, **training: Any) -> dict[str, Any]:
    """Return a request for a fit with inline data of its own."""
    body = thermometer(**training)
    first = float(time.monotonic_ns())
    body["data"]["columns"] = {"t_u": [first + row for row in range(rows)], "t_c": [0.5] * rows}
    return body


def test_light_requests_stay_quick_while_helpers_are_busy(service: Service) -> None:
    """Cancellation is quick while more requests wait for helpers than the service has threads."""
    job_id = service.running(thermometer(epochs=LONG))
    body = httpx.Request("POST", "http://x", json=inline(LARGE_ROWS)).content
    headers = {"Content-Type": "application/json"}

    def check(_: int) -> int:
        with httpx.Client(base_url=service.client.base_url, timeout=120.0) as client:
            path = "/v1/jobs?validate_only=true"
            return client.post(path, content=body, headers=headers).status_code

    with ThreadPoolExecutor(LARGE_REQUESTS) as pool:
        checks = [pool.submit(check, index) for index in range(LARGE_REQUESTS)]
        until(lambda: any(check.done() for check in checks))
        seconds = []
        for method, path in (("GET", f"/v1/jobs/{job_id}"), ("POST", f"/v1/jobs/{job_id}/cancel")):
            start = time.monotonic()
            assert service.client.request(method, path).is_success
            seconds.append(time.monotonic() - start)
        busy = sum(not check.done() for check in checks)
        assert {check.result() for check in checks} <= {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}
    assert busy > LARGE_REQUESTS // 2
    assert max(seconds) < QUICK_SECONDS


def test_light_requests_stay_quick_while_the_database_is_locked(service: Service) -> None:
    """Reads are quick while more submissions wait for the lock of SQLite than the service has threads."""
    with (
        closing(sqlite3.connect(service.data_dir / "fitserve.db", isolation_level=None)) as holder,
        ThreadPoolExecutor(1) as clients,
    ):
        holder.execute("BEGIN IMMEDIATE")
        submits = clients.submit(
            lambda: asyncio.run(submit_concurrently(service, thermometer(epochs=1), LARGE_REQUESTS))
        )
        seconds = []
        for _ in range(20):
            start = time.monotonic()
            assert service.client.get("/livez").is_success
            assert service.client.get("/v1/jobs", params={"page_size": 1}).is_success
            seconds.append(time.monotonic() - start)
            time.sleep(0.1)
        assert not submits.done()
        holder.execute("ROLLBACK")
        answers = submits.result()
    assert max(seconds) < QUICK_SECONDS
    assert {answer.status_code for answer in answers} == {httpx.codes.ACCEPTED}
    assert {service.ended(answer.json()["id"])["status"] for answer in answers} == {"succeeded"}


def test_a_job_refused_by_a_full_queue_leaves_no_files(narrow_service: Service) -> None:
    """A job that is refused by a full queue leaves neither data nor checkpoints."""
    service = narrow_service
    parent = service.succeeded(thermometer(epochs=1))["id"]
    running = service.running(thermometer(epochs=LONG))
    queued = [service.queued(thermometer(epochs=1)) for _ in range(3)]
    before = artifacts(service)
    refused = service.submit(inline(10, from_job=parent, epochs=1))
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/queue-full")
    assert artifacts(service) - before <= checkpoints_of(service, running)
    service.cancelled(running, *queued)


def test_concurrent_refused_jobs_leave_no_files(narrow_service: Service) -> None:
    """Concurrent jobs that are refused or replayed leave no files."""
    service = narrow_service
    parent = service.succeeded(thermometer(epochs=1))["id"]
    running = service.running(thermometer(epochs=LONG))
    before = artifacts(service)
    body = inline(10, from_job=parent, epochs=1)
    bodies = [(body, {"Idempotency-Key": "one"})] * 6 + [(body, {})] * 6
    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda each: service.submit(*each), bodies))
    accepted = {answer.json()["id"] for answer in answers if answer.is_success}
    assert len(accepted) == 3
    assert all(answer.is_success or answer.status_code == 503 for answer in answers)
    new = artifacts(service) - before - checkpoints_of(service, running)
    assert {path.parent.name for path in new if path.parent.name != "datasets"} == accepted
    assert len(new) == 3 + 1
    service.cancelled(running, *accepted)


def checkpoints_of(service: Service, job_id: str) -> set[Path]:
    """Return the checkpoint files of a job."""
    return set((service.data_dir / "artifacts" / "checkpoints" / job_id).glob("*"))


def test_stalled_bodies_shut_nobody_out(hasty_service: Service) -> None:
    """While bodies beyond the memory limit stall, others are accepted; the former get 408."""
    service = hasty_service
    stalled = [connected(service, STALLED_BYTES) for _ in range(3)]
    for body in (inline(30_000), thermometer()):
        assert service.submit(body, validate_only=True).status_code == httpx.codes.OK
    for client in stalled:
        with client:
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
    until(lambda: service.log.read_text().count("client disconnected") == len(stalled))
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/datasets", "/v1/jobs/job_x/predictions"])
def test_a_client_that_leaves_is_an_info_line(hasty_service: Service, path: str) -> None:
    """A client that leaves during its body is logged in one line at info, and leaves no files."""
    service = hasty_service
    before = len(service.log.read_text())
    connected(service, STALLED_BYTES, path).close()
    until(lambda: "client disconnected" in service.log.read_text()[before:])
    until(lambda: not spooled(service))
    lines = [json.loads(line) for line in service.log.read_text()[before:].splitlines()]
    assert [line["event"] for line in lines if line["event"] != "request"] == ["client disconnected"]
    assert {line["level"] for line in lines} == {"info"}


def connected(service: Service, size: int, path: str = "/v1/jobs") -> socket.socket:
    """Send a request whose body lacks its last byte."""
    url = service.client.base_url
    client = socket.create_connection((url.host, url.port or 0), timeout=60.0)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}"
    )
    client.sendall(f"{head}\r\n\r\n".encode() + b" " * (size - 1))
    return client


def spooled(service: Service) -> list[Path]:
    """Return the folders and files of request bodies."""
    return [path for path in (service.data_dir / "spool").glob("*/*") if path.name != "lock"]


def test_many_concurrent_submissions_are_answered(narrow_service: Service) -> None:
    """Concurrent submissions are accepted or 503, each with bounded memory."""
    assert_answered(narrow_service, count=100, room=3)


@pytest.mark.exhaustive
def test_a_thousand_concurrent_submissions_are_answered(start_service: Callable[..., Service]) -> None:
    """A thousand concurrent submissions are accepted or 503, each with bounded memory."""
    settings = {"max_queue_length": 600, "helper_timeout_seconds": 120}
    assert_answered(start_service(workers=1, helpers=2, **settings), count=1000, room=600)


def assert_answered(service: Service, count: int, room: int) -> None:
    """Submit `count` jobs at once; assert that as many as the queue has room for are accepted."""
    body = thermometer(epochs=1)
    del body["data"]["columns"]
    body["data"]["dataset_id"] = service.succeeded(thermometer(epochs=1))["dataset_id"]
    held = service.running(thermometer(epochs=LONG))
    before = service.process.memory_info().rss
    peak, answered = [before], threading.Event()

    def watch_memory() -> None:
        while not answered.wait(0.02):
            peak.append(service.process.memory_info().rss)

    watcher = threading.Thread(target=watch_memory)
    watcher.start()
    try:
        answers = asyncio.run(submit_concurrently(service, body, count))
    finally:
        answered.set()
        watcher.join()
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == httpx.codes.ACCEPTED}
    refused = [answer for answer in answers if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE]
    assert len(accepted) + len(refused) == count
    assert len(accepted) == room
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert service.read("/v1/system")["queue_length"] == room
    assert max(peak) - before < count * SUBMIT_BYTES, f"{(max(peak) - before) / count:.0f} bytes each"
    service.cancelled(held)
    assert {service.ended(job_id)["status"] for job_id in accepted} == {"succeeded"}


async def submit_concurrently(service: Service, body: dict[str, Any], count: int) -> list[httpx.Response]:
    """Submit jobs whose bodies all arrive before any is complete, and return the responses."""
    content = httpx.Request("POST", "http://x", json=body).content
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(content)}"
    url = service.client.base_url
    streams = [await asyncio.open_connection(url.host, url.port) for _ in range(count)]
    for _, writer in streams:
        writer.write(f"{head}\r\n\r\n".encode() + content[:-1])
        await writer.drain()
    for _, writer in streams:
        writer.write(content[-1:])
    texts = await asyncio.gather(*(reader.read() for reader, _ in streams))
    for _, writer in streams:
        writer.close()
    return [parse_response(text) for text in texts]


def parse_response(text: bytes) -> httpx.Response:
    """Parse a raw HTTP response."""
    head, _, content = text.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=content)
