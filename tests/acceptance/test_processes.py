"""What the service's processes do, and what survives their end."""

import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.fits import LONG, ORDERED, SEQUENTIAL, thermometer
from tests.support.long_fits import interruptible
from tests.support.processes import worker_of, workers
from tests.support.server import Service, until

IDLE_WINDOW_SECONDS = 2.0
# Heartbeats are one statement each five seconds.
IDLE_CPU_SECONDS = 0.1
LEAST_WORK_SECONDS = 0.3


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time a process has taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_api_process_never_imports_torch(service: Service) -> None:
    """After fits, predictions, checks and the catalog, only workers and helpers have PyTorch loaded."""
    job = service.succeeded(thermometer(ORDERED))
    service.predict(job["id"], {"inputs": [[35.7]]})
    service.read("/v1/catalog")
    service.history(job["id"])

    def has_torch(process: psutil.Process) -> bool:
        return "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()

    assert not has_torch(service.process)
    assert all(has_torch(worker) for worker in workers(service))


def test_training_happens_in_a_worker(service: Service) -> None:
    """A fit takes its processor time in a worker, not in the API's process."""
    until(lambda: len(workers(service)) == 2)  # another test may have ended one
    api, (first, second) = service.process, workers(service)
    before = [cpu_seconds(process) for process in (api, first, second)]
    service.succeeded(interruptible(epochs=3000))
    spent = [cpu_seconds(process) - b for process, b in zip((api, first, second), before, strict=True)]
    assert max(spent[1:]) > LEAST_WORK_SECONDS
    assert spent[0] < 0.5 * max(spent[1:])


def test_idle_workers_take_no_processor_time(service: Service) -> None:
    """Over two idle seconds the workers take next to no processor time."""
    service.succeeded(thermometer(epochs=1))

    def are_idle() -> bool:
        idle = workers(service)
        before = [cpu_seconds(worker) for worker in idle]
        psutil.cpu_percent(interval=IDLE_WINDOW_SECONDS)
        spent = [cpu_seconds(worker) - b for worker, b in zip(idle, before, strict=True)]
        return sum(spent) <= IDLE_CPU_SECONDS

    until(are_idle)  # once they are warm


def test_a_killed_worker_is_replaced_and_its_job_ends_as_undisturbed(service: Service) -> None:
    """kill -9 of the worker: another takes the job, which equals an undisturbed one bit for bit."""
    undisturbed = service.succeeded(interruptible(epochs=4000))
    before = {worker.pid for worker in workers(service)}
    job_id = service.running(interruptible(epochs=4000))
    busy = worker_of(service, job_id)
    busy.kill()
    job = service.ended(job_id)
    assert (job["status"], job["attempt"], undisturbed["attempt"]) == ("succeeded", 2, 1)
    assert service.history(job_id) == service.history(undisturbed["id"])
    assert service.parameters(job_id) == service.parameters(undisturbed["id"])

    def replaced() -> bool:
        now = {worker["pid"] for worker in service.read("/v1/system")["workers"]}
        return len(now) == len(before) and busy.pid not in now

    until(replaced)


def test_a_killed_helper_is_replaced(service: Service) -> None:
    """kill -9 of the idle helpers blames no request: 503 at most, and then all is as before."""
    helpers = service.children("helper")
    assert len(helpers) == 2
    for helper in helpers:
        helper.kill()

    def checked() -> bool:
        response = service.submit(thermometer(), validate_only=True)
        assert response.status_code in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE), response.text
        return response.status_code == httpx.codes.OK

    until(checked)


def test_a_restart_loses_nothing(start_service: Callable[..., Service]) -> None:
    """Ended jobs answer as before; queued ones run and running ones go on, after SIGTERM and kill -9."""
    service = start_service(
        workers=1, helpers=1, lease_seconds=3, heartbeat_seconds=0.5, checkpoint_seconds=0.1
    )
    ended = service.succeeded(thermometer(SEQUENTIAL, epochs=50))
    addresses = [ended["links"][name] for name in ("self", "dataset", "history", "named_parameters", "model")]
    before = [service.client.get(address).content for address in addresses]
    undisturbed = service.succeeded(interruptible(epochs=4000))
    running, queued = (
        service.saved(interruptible(epochs=4000)),
        [service.queued(thermometer(epochs=5)) for _ in range(3)],
    )

    service.stop()
    service.start()
    assert [service.client.get(address).content for address in addresses] == before
    jobs = [service.ended(job_id) for job_id in (running, *queued)]
    assert [job["status"] for job in jobs] == ["succeeded"] * 4
    assert service.history(running) == service.history(undisturbed["id"])
    assert service.parameters(running) == service.parameters(undisturbed["id"])

    running, queued = (
        service.saved(interruptible(epochs=4000)),
        [service.queued(thermometer(epochs=5)) for _ in range(3)],
    )
    service.kill()
    service.start()
    assert [service.client.get(address).content for address in addresses] == before
    jobs = [service.ended(job_id) for job_id in (running, *queued)]
    assert [(job["status"], job["attempt"]) for job in jobs] == [("succeeded", 2), *[("succeeded", 1)] * 3]
    assert service.history(running) == service.history(undisturbed["id"])
    assert service.parameters(running) == service.parameters(undisturbed["id"])
    assert service.log.read_text().count("job resumed") == 2
    assert service.cancelled(service.running(thermometer(epochs=LONG)))[0]["status"] == "cancelled"


def test_the_service_deletes_jobs_past_their_retention(start_service: Callable[..., Service]) -> None:
    """Where jobs are kept for a while only, the service deletes them, with their checkpoints, by itself."""
    before = start_service(workers=1, helpers=1)
    job_id = before.succeeded(thermometer(epochs=1))["id"]
    checkpoints = before.data_dir / "artifacts" / "checkpoints" / job_id
    assert [*checkpoints.iterdir()]
    before.stop()
    after = Service(before.data_dir, workers=0, helpers=1, retention_days=1e-9).launch()
    try:
        until(lambda: after.client.get(f"/v1/jobs/{job_id}").status_code == httpx.codes.NOT_FOUND)
        until(lambda: not [*checkpoints.iterdir()])
    finally:
        after.stop()
