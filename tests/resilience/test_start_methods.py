"""The life of jobs with forked and with spawned workers of two threads.

Other tests show the life of jobs with forked workers of one thread.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.long_fits import interruptible
from tests.support.processes import wait_for_workers, worker_of
from tests.support.script import assert_equal, fit_thermometer, threads
from tests.support.server import Service, until

# Seconds on a slow machine: two threads wait for each other in every operation of a small model.
EPOCHS = 300


@pytest.fixture(scope="module", params=["fork", pytest.param("spawn", marks=pytest.mark.exhaustive)])
def service_of(request: pytest.FixtureRequest, start_module_service: Callable[..., Service]) -> Service:
    """Start a service with two workers of two threads each."""
    return start_module_service(
        workers=2, helpers=1, threads_per_worker=2, start_method=request.param, checkpoint_seconds=0.1
    )


def test_a_job_of_two_threads_equals_the_script(service_of: Service) -> None:
    """An eager job with two threads has the bits of a plain script and serves predictions."""
    service = service_of
    job = service.succeeded(thermometer(SEQUENTIAL, epochs=500, optimizer={"type": "SGD", "lr": 1e-3}))
    assert job["used"]["threads"] == 2
    with threads(2):
        script = fit_thermometer(
            lambda: nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1)), 500, 1e-3
        )
    assert_equal(service, job, script)
    assert len(service.predict(job["id"], {"columns": {"t_u": [50.0]}})["outputs"]) == 1


@pytest.mark.parametrize("engine", ["eager", pytest.param("compiled", marks=pytest.mark.exhaustive)])
def test_a_job_of_a_killed_worker_ends_like_an_undisturbed_job(service_of: Service, engine: str) -> None:
    """A job whose worker is killed ends with the bits of an undisturbed job."""
    service = service_of
    body = interruptible(epochs=EPOCHS)
    if engine == "compiled":  # a thousand times faster, without support for dropout
        body = thermometer(SEQUENTIAL, epochs=80_000, batch_size=4, optimizer={"type": "Adam", "lr": 1e-4})
    body["engine"] = engine
    undisturbed = service.succeeded(body)
    job_id = service.saved(body)
    worker_of(service, job_id).kill()
    job = service.ended(job_id)
    assert (job["status"], undisturbed["attempt"]) == ("succeeded", 1)
    assert service.history(job_id) == service.history(undisturbed["id"])
    assert service.parameters(job_id) == service.parameters(undisturbed["id"])
    assert len(wait_for_workers(service, 2)) == 2


@pytest.mark.exhaustive
def test_a_running_job_is_cancelled(service_of: Service) -> None:
    """A running job is cancelled, and its worker claims the next job."""
    service = service_of
    (job,) = service.cancelled(service.running(thermometer(epochs=LONG)))
    assert job["status"] == "cancelled"
    assert service.succeeded(thermometer(epochs=1))["attempt"] == 1


@pytest.mark.exhaustive
def test_a_paused_job_resumes_from_its_checkpoint(service_of: Service) -> None:
    """A paused job resumes from its checkpoint and ends like its twin."""
    service, body = service_of, interruptible(epochs=EPOCHS)
    twin, job_id = service.succeeded(body), service.saved(body)
    service.client.post(f"/v1/jobs/{job_id}/pause")
    until(lambda: service.job(job_id)["status"] in ("paused", "succeeded"))
    service.client.post(f"/v1/jobs/{job_id}/resume")
    assert service.ended(job_id)["status"] == "succeeded"
    assert service.parameters(job_id) == service.parameters(twin["id"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_job_trains_on_a_gpu(service_of: Service, engine: str) -> None:
    """Forked and spawned workers train on a GPU."""
    body = {**thermometer(SEQUENTIAL, epochs=300), "engine": engine, "device": "cuda"}
    assert service_of.succeeded(body)["used"]["device"] == "cuda"
