"""Jobs on a GPU, through HTTP."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.histories import losses
from tests.support.long_fits import interruptible
from tests.support.processes import workers
from tests.support.server import Service, until

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

ENGINES = ["eager", "compiled"]


@pytest.fixture(scope="module")
def gpu_service(start_module_service: Callable[..., Service]) -> Service:
    """Start a service with one worker for the CPU and one for the GPU."""
    return start_module_service(workers=1, checkpoint_seconds=0.2)


def fit(engine: str = "auto", device: str = "cuda", **training: Any) -> dict[str, Any]:
    """Return a request for a fit with 13 tanh units."""
    section = {"optimizer": {"type": "SGD", "lr": 1e-3}, "epochs": 600, **training}
    return {**thermometer(SEQUENTIAL, **section), "engine": engine, "device": device}


def test_system_reports_the_gpu(gpu_service: Service) -> None:
    """`/v1/system` reports the GPU, and a small job with `device: auto` uses the CPU."""
    found = gpu_service.read("/v1/system")["workers"]
    assert sorted(worker["device"] for worker in found) == ["cpu", "cuda:0"]
    assert all((worker["device_name"] is None) == (worker["device"] == "cpu") for worker in found)
    assert gpu_service.fit(fit(device="auto"))["used"]["device"] == "cpu"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_on_a_gpu_agrees_with_one_on_a_cpu(gpu_service: Service, engine: str) -> None:
    """Fits and predictions on a GPU agree with those on a CPU to rounding."""
    jobs = [gpu_service.fit(fit(engine, device)) for device in ("cuda", "cpu")]
    assert [job["used"]["engine"] for job in jobs] == [engine] * 2
    there, here = (losses(gpu_service, job) for job in jobs)
    np.testing.assert_allclose(there[:, :50], here[:, :50], rtol=1e-3)
    ours, theirs = (gpu_service.predict(job["id"], {"columns": {"t_u": [35.7]}})["outputs"] for job in jobs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)


def test_jobs_train_in_a_group_on_a_gpu(gpu_service: Service) -> None:
    """Queued jobs with one program train in a group and agree with a job that trains alone."""
    held = gpu_service.running(fit("eager", epochs=LONG))
    bodies = [fit("compiled", seed=seed) for seed in range(8)]
    queued = [gpu_service.queued(body) for body in bodies]
    gpu_service.cancelled(held)
    together = [gpu_service.ended(job_id) for job_id in queued]
    assert [job["status"] for job in together] == ["succeeded"] * 8
    assert "jobs train together" in gpu_service.log.read_text()
    alone = gpu_service.succeeded(bodies[3])
    np.testing.assert_allclose(
        losses(gpu_service, together[3])[:, :50], losses(gpu_service, alone)[:, :50], rtol=1e-3
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_job_of_a_killed_gpu_worker_ends_like_its_twin(gpu_service: Service, precision: str) -> None:
    """A job whose GPU worker is killed ends with the bits of its undisturbed twin."""
    body = {**interruptible(epochs=4000), "device": "cuda", "precision": precision}
    twin = gpu_service.succeeded(body)
    job_id = gpu_service.queued(body)
    until(lambda: gpu_service.read(f"/v1/jobs/{job_id}/checkpoints")["items"])
    for worker in workers(gpu_service):
        worker.kill()
    job = gpu_service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert gpu_service.history(job_id) == gpu_service.history(twin["id"])
    assert gpu_service.parameters(job_id) == gpu_service.parameters(twin["id"])


def test_a_job_that_exceeds_gpu_memory_fails(gpu_service: Service) -> None:
    """A job that exceeds GPU memory fails with its batch size, and the worker runs the next job."""
    layers = [
        {"type": "Linear", "in_features": 1, "out_features": 1_000_000},
        {"type": "Tanh"},
        {"type": "Linear", "in_features": 1_000_000, "out_features": 1},
    ]
    units_bytes = 4 * 1_000_000
    # Two tensors of this size exceed the memory.
    count = torch.cuda.get_device_properties(0).total_memory // units_bytes
    rows = [[float(row)] for row in range(count)]
    body = {
        "data": {"inputs": rows, "targets": rows},
        "architecture": {"type": "sequential", "layers": layers},
        "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 3},
        "device": "cuda",
    }
    job = gpu_service.ended(gpu_service.queued(body))
    assert job["status"] == "failed"
    assert job["error"]["type"] == "/problems/out-of-memory"
    assert f"batch of {count}" in job["error"]["detail"]
    assert gpu_service.fit(fit("eager"))["status"] == "succeeded"


def test_an_unknown_gpu_is_refused(gpu_service: Service) -> None:
    """A GPU that does not exist is 422 with the existing devices."""
    response = gpu_service.submit(fit(device="cuda:7"))
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = response.json()["errors"]
    assert error["pointer"] == "#/device"
    assert "cuda:0" in error["detail"]
