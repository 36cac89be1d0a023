"""Failures around a job: frozen workers, kills while saving, full disks and a killed service."""

import os
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.fits import LINEAR, LONG, SEQUENTIAL, tensors, thermometer
from tests.support.long_fits import INPUTS, TARGETS, interruptible, squaring, start_long_step
from tests.support.processes import wait_for_workers, worker_of, worker_pids, workers
from tests.support.server import Service, contents, until

LEASE_SECONDS, TAKEOVER_SECONDS = 2, 10
WORKERS = 2
# Larger than the database, smaller than a checkpoint of `large`.
FULL_BYTES = 4 * 2**20


@pytest.fixture(scope="module")
def hasty_service(start_module_service: Callable[..., Service]) -> Iterator[Service]:
    """Start a service with short leases, frequent checkpoints and no data in memory."""
    service = start_module_service(
        workers=WORKERS,
        helpers=1,
        lease_seconds=LEASE_SECONDS,
        heartbeat_seconds=0.3,
        checkpoint_seconds=0.1,
        storage_patience_seconds=1,
        in_memory_bytes=0,
        shutdown_grace_seconds=60,
    )
    yield service
    service.stop()


def large(units: int = 600, **training: Any) -> dict[str, Any]:
    """Return a request for a fit with checkpoints of several MB."""
    layers = [
        {"type": "Linear", "out_features": units},
        {"type": "Tanh"},
        {"type": "Linear", "out_features": units},
        {"type": "Linear", "out_features": 1},
    ]
    return tensors(INPUTS, TARGETS, layers, optimizer="Adam", **training)


@contextmanager
def limited_files(processes: list[psutil.Process], largest_bytes: int) -> Iterator[None]:
    """Limit the size of the files that processes write, as on a full disk."""
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (largest_bytes, resource.RLIM_INFINITY))
    yield
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def assert_equal(service: Service, job_id: str, other_id: str) -> None:
    """Check that two jobs have equal history and parameters."""
    assert service.history(job_id) == service.history(other_id)
    assert service.parameters(job_id) == service.parameters(other_id)


def test_frozen_workers_are_replaced(hasty_service: Service) -> None:
    """Frozen workers are killed and replaced, and another worker continues their job."""
    service = hasty_service
    twin = service.succeeded(interruptible())
    job_id = service.saved(interruptible())
    frozen = wait_for_workers(service, WORKERS)
    for worker in frozen:
        worker.suspend()
    begin = time.monotonic()
    until(lambda: service.job(job_id)["attempt"] == 2)
    assert time.monotonic() - begin < LEASE_SECONDS + TAKEOVER_SECONDS
    assert service.ended(job_id)["status"] == "succeeded"
    assert service.began_at(job_id) > 0
    assert_equal(service, job_id, twin["id"])
    until(lambda: len(workers(service)) == len(frozen))
    assert not any(worker.is_running() for worker in frozen)


def test_a_frozen_worker_is_killed_while_the_database_is_locked(hasty_service: Service) -> None:
    """Frozen workers are killed although the database is locked."""
    service = hasty_service
    job_id = service.running(interruptible())
    frozen = wait_for_workers(service, WORKERS)
    with sqlite3.connect(service.data_dir / "fitserve.db", isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for worker in frozen:
            worker.suspend()
        _, alive = psutil.wait_procs(frozen, timeout=LEASE_SECONDS + TAKEOVER_SECONDS)
        assert alive == []
        holder.execute("ROLLBACK")
    job = service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def test_a_step_may_be_longer_than_the_lease(hasty_service: Service) -> None:
    """A job with a step longer than the lease needs one attempt."""
    times, seconds = 20, 0.0
    while seconds < 1.5 * LEASE_SECONDS:  # on a machine of any speed
        job = hasty_service.ended(hasty_service.queued(squaring(1200, times, epochs=1)), seconds=300)
        assert (job["status"], job["attempt"]) == ("succeeded", 1)
        times, seconds = 2 * times, job["timings"]["training_seconds"]


def test_a_kill_while_saving_keeps_the_previous_checkpoint(hasty_service: Service) -> None:
    """A job killed while it writes a checkpoint continues from the previous one."""
    service = hasty_service
    twin = service.succeeded(large(units=1200, epochs=500))
    processes = wait_for_workers(service, WORKERS)
    job_id = service.saved(large(units=1200, epochs=500))
    folder = service.data_dir / "artifacts" / "checkpoints" / job_id

    def written() -> list[Path]:
        return [file for file in folder.iterdir() if "." in file.name]  # complete files have no suffix

    def stopped_while_writing() -> bool:
        until(written, poll_seconds=0.0)
        for process in processes:
            process.suspend()
        until(lambda: all(each.status() == psutil.STATUS_STOPPED for each in processes), poll_seconds=0.0)
        if not written():
            for process in processes:
                process.resume()
            return False
        return True

    until(stopped_while_writing)
    broken = written()
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)
    assert all(file.exists() for file in broken)
    job = service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    messages = service.messages(job_id)
    (lost,) = (index for index, message in enumerate(messages) if message.startswith("Worker lost"))
    saved = [message for message in messages[:lost] if message.startswith("Checkpoint saved: ")]
    assert saved[-1].startswith(f"Checkpoint saved: epoch {service.began_at(job_id)}, ")
    assert_equal(service, job_id, twin["id"])


def test_a_job_on_a_full_disk_can_be_continued(hasty_service: Service) -> None:
    """A job whose last checkpoint cannot be written fails with the reason and can be continued."""
    service = hasty_service
    epochs = 1000
    twin = service.succeeded(large(epochs=epochs))
    job_id = service.saved(large(epochs=epochs, checkpoint_every=epochs - 1))  # at least one more save
    service.client.post(f"/v1/jobs/{job_id}/pause")
    until(lambda: service.job(job_id)["status"] == "paused")
    with limited_files(wait_for_workers(service, WORKERS), FULL_BYTES):
        service.client.post(f"/v1/jobs/{job_id}/resume")
        job = service.ended(job_id)
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("failed", "error", 2)
    assert job["error"]["type"] == "/problems/checkpoint-not-written"
    assert service.history(job_id)["epochs"][-1] == epochs
    lines = service.read(f"/v1/jobs/{job_id}/logs")["items"]
    (warning,) = [line["message"] for line in lines if line["level"] == "warning"]
    assert warning.startswith("No checkpoint can be written: ")
    assert lines[-1]["level"] == "error"
    (saved,) = service.read(f"/v1/jobs/{job_id}/checkpoints")["items"]
    assert 0 < saved["epoch"] < epochs - 1
    assert service.read(f"/v1/jobs/{job_id}/named_parameters")["epoch"] == saved["epoch"]
    again = service.succeeded(large(epochs=epochs, from_job=job_id, resume=True))
    assert_equal(service, again["id"], twin["id"])


def test_a_job_without_disk_space_for_its_data_fails(hasty_service: Service) -> None:
    """A job whose data exceeds the disk fails once with the reason, and the next job runs."""
    service, count = hasty_service, 400_000  # values of 4 bytes
    with limited_files(wait_for_workers(service, WORKERS), 2**20):
        job_id = service.queued(tensors([[0.5]] * count, [[1.0]] * count, LINEAR, epochs=1))
        other_id = service.queued(thermometer(epochs=1))
        job = service.ended(job_id)
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("failed", "error", 1)
    assert job["error"]["type"] == "/problems/data-not-prepared"
    detail = f"A file of {4 * count} bytes of training data can't be written: File too large."
    assert job["error"]["detail"] == detail
    assert service.ended(other_id)["status"] == "succeeded"


def test_supervision_survives_too_many_open_files(hasty_service: Service) -> None:
    """Supervision retries while no process can be started and then replaces dead processes."""
    service = hasty_service
    process, before = service.process, {worker.pid for worker in wait_for_workers(service, WORKERS)}
    failures = service.log.read_text().count('"supervision failed"')
    limit = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (3, limit[1]))  # open files stay open
    for child in process.children():
        child.kill()
    until(lambda: service.log.read_text().count('"supervision failed"') > failures + 1)
    process.rlimit(psutil.RLIMIT_NOFILE, limit)
    until(lambda: set(worker_pids(service).values()) - before)
    until(lambda: service.submit(thermometer(), validate_only=True).status_code == httpx.codes.OK)
    assert service.succeeded(thermometer(epochs=1))


def test_predictions_survive_killed_helpers(hasty_service: Service) -> None:
    """Clients whose rows share the calls of helpers that are killed get the answers to their rows."""
    service = hasty_service
    job = service.succeeded(thermometer(epochs=1))
    bodies = [{"inputs": [[float(number)]]} for number in range(16)]
    alone = [service.predict(job["id"], body) for body in bodies]
    with ThreadPoolExecutor(len(bodies)) as clients:
        found = [clients.submit(service.predict, job["id"], body) for body in bodies * 20]
        until(lambda: sum(each.done() for each in found) > len(bodies))
        for helper in service.children("helper"):
            helper.kill()
        assert [each.result() for each in found] == alone * 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are spawned")
def test_a_killed_fork_server_is_replaced(hasty_service: Service) -> None:
    """Jobs continue after a kill of the fork server, and killed workers and helpers are replaced."""
    service = hasty_service
    running = service.running(interruptible())
    (server,) = service.children("fork server")
    server.kill()
    until(lambda: [each.pid for each in service.children("fork server")] not in ([], [server.pid]))
    assert service.ended(running)["attempt"] == 1
    again = service.saved(interruptible())
    victim = worker_of(service, again)
    for child in [victim, *service.children("helper")]:
        child.kill()
    assert (service.ended(again)["status"], service.job(again)["attempt"]) == ("succeeded", 2)
    assert victim.pid not in {worker.pid for worker in wait_for_workers(service, WORKERS)}
    assert service.succeeded(thermometer(epochs=1))
    assert str(victim.pid) not in os.listdir("/proc")


def test_a_second_sigterm_stops_at_once(hasty_service: Service) -> None:
    """A second SIGTERM stops the service and all its processes without waiting for a step."""
    service = hasty_service
    job_id = start_long_step(service)
    service.stop_at_once()
    service.start()
    assert service.cancelled(job_id)[0]["status"] == "cancelled"


def test_a_killed_service_loses_nothing(hasty_service: Service) -> None:
    """A service restarted after SIGKILL keeps ended jobs and finishes all others."""
    service = hasty_service
    ended = service.succeeded(thermometer(SEQUENTIAL, epochs=50))
    before = contents(service, ended)
    undisturbed = service.succeeded(interruptible())
    resumed = service.log.read_text().count("job resumed")
    blocking = [service.running(thermometer(epochs=LONG)) for _ in range(WORKERS - 1)]
    running = service.saved(interruptible())
    queued = [service.queued(thermometer(epochs=5)) for _ in range(3)]
    service.kill()
    service.start()
    assert contents(service, ended) == before
    jobs = [service.ended(job_id) for job_id in (running, *queued)]
    assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 2), *[("succeeded", 1)] * 3]
    assert_equal(service, running, undisturbed["id"])
    assert [job["attempt"] for job in service.cancelled(*blocking)] == [2] * len(blocking)
    assert service.log.read_text().count("job resumed") - resumed == WORKERS
