"""Processes of the service: their work, their death and their replacement."""

import sys
from pathlib import Path

import httpx
import psutil
import pytest

from service.settings import Settings
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim, Ending
from service.storage.planned_job import PlannedJob
from tests.support.fits import ORDERED, thermometer
from tests.support.long_fits import interruptible
from tests.support.processes import worker_of, worker_pids, workers
from tests.support.records import DONE, claimed, new_dataset, new_job
from tests.support.server import Service, until
from tests.support.storage import open_storage

IDLE_WINDOW_SECONDS = 2.0
# A heartbeat is one SQL statement every five seconds.
IDLE_CPU_SECONDS = 0.1
LEAST_WORK_SECONDS = 0.3


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_api_process_never_imports_torch(service: Service) -> None:
    """Fits, predictions, checks and the catalog load PyTorch in workers and helpers only, without plots."""
    job = service.succeeded(thermometer(ORDERED))
    service.predict(job["id"], {"inputs": [[35.7]]})
    service.read("/v1/catalog")
    service.history(job["id"])

    def loaded(process: psutil.Process) -> set[str]:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        return {name for name in ("libtorch", "/matplotlib/", "/scipy/signal/") if name in maps}

    assert loaded(service.process) == set()
    for child in (*workers(service), *service.children("helper")):
        assert loaded(child) == {"libtorch"}


def test_training_happens_in_a_worker(service: Service) -> None:
    """A fit uses the processor time of a worker, not of the API process."""
    until(lambda: len(workers(service)) == 2)  # another test may have killed one
    api, (first, second) = service.process, workers(service)
    before = [cpu_seconds(process) for process in (api, first, second)]
    service.succeeded(interruptible(epochs=3000))
    spent = [cpu_seconds(process) - b for process, b in zip((api, first, second), before, strict=True)]
    assert max(spent[1:]) > LEAST_WORK_SECONDS
    assert spent[0] < 0.5 * max(spent[1:])


def test_idle_workers_use_no_processor_time(service: Service) -> None:
    """Workers without a job use almost no processor time over two seconds."""
    service.succeeded(thermometer(epochs=1))

    def are_idle() -> bool:
        idle = workers(service)
        before = [cpu_seconds(worker) for worker in idle]
        psutil.cpu_percent(interval=IDLE_WINDOW_SECONDS)
        spent = [cpu_seconds(worker) - b for worker, b in zip(idle, before, strict=True)]
        return sum(spent) <= IDLE_CPU_SECONDS

    until(are_idle)  # after their warm-up


def test_a_job_of_a_killed_worker_ends_like_an_undisturbed_job(service: Service) -> None:
    """Another worker continues the job of a killed worker with the bits of an undisturbed job."""
    undisturbed = service.succeeded(interruptible())
    before = {worker.pid for worker in workers(service)}
    job_id = service.running(interruptible())
    busy = worker_of(service, job_id)
    busy.kill()
    job = service.ended(job_id)
    assert (job["status"], job["attempt"], undisturbed["attempt"]) == ("succeeded", 2, 1)
    assert service.history(job_id) == service.history(undisturbed["id"])
    assert service.parameters(job_id) == service.parameters(undisturbed["id"])

    def replaced() -> bool:
        now = set(worker_pids(service).values())
        return len(now) == len(before) and busy.pid not in now

    until(replaced)


def test_a_killed_helper_is_replaced(service: Service) -> None:
    """Killed idle helpers are replaced, and requests get 503 at most until then."""
    helpers = service.children("helper")
    assert len(helpers) == 4  # two of them only try short calls
    for helper in helpers:
        helper.kill()

    def checked() -> bool:
        response = service.submit(thermometer(), validate_only=True)
        assert response.status_code in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE), response.text
        return response.status_code == httpx.codes.OK

    until(checked)


def test_the_service_deletes_jobs_past_their_retention(tmp_path: Path) -> None:
    """The service deletes jobs and their checkpoints after the retention period."""
    with open_storage(Settings(data_dir=tmp_path / "data")) as storage:
        job, _ = storage.jobs.submit("default", PlannedJob(new_job(), new_dataset()))
        claim = Claim.of(claimed(storage.claims))
        checkpoint = storage.artifacts.put(f"checkpoints/{job.id}", b"state")
        storage.claims.save_checkpoint(claim, NewCheckpoint(1, checkpoint, 5))
        storage.claims.finish(Ending(claim, DONE))
    service = Service(tmp_path / "data", workers=0, helpers=1, retention_days=1e-9).launch()
    try:
        until(lambda: service.client.get(f"/v1/jobs/{job.id}").status_code == httpx.codes.NOT_FOUND)
        until(lambda: not [*(service.data_dir / "artifacts" / "checkpoints" / job.id).iterdir()])
    finally:
        service.stop()
