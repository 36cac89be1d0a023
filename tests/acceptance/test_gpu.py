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
    """A service with a worker for the CPU and one for the GPU."""
    return start_module_service(workers=1, checkpoint_seconds=0.2)


def fit(engine: str = "auto", device: str = "cuda", **training: Any) -> dict[str, Any]:
    """A fit of 13 tanh units."""
    section = {"optimizer": {"type": "SGD", "lr": 1e-3}, "epochs": 600, **training}
    return {**thermometer(SEQUENTIAL, **section), "engine": engine, "device": device}


def test_the_workers_are_told(gpu_service: Service) -> None:
    """`/v1/system` names the GPU; a small job left to choose goes to the CPU."""
    there = gpu_service.read("/v1/system")["workers"]
    assert sorted(worker["device"] for worker in there) == ["cpu", "cuda:0"]
    assert all((worker["device_name"] is None) == (worker["device"] == "cpu") for worker in there)
    assert gpu_service.fit(fit(device="auto"))["used"]["device"] == "cpu"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_on_a_gpu_agrees_with_one_on_a_cpu(gpu_service: Service, engine: str) -> None:
    """Both engines, to rounding; it predicts as the other does."""
    jobs = [gpu_service.fit(fit(engine, device)) for device in ("cuda", "cpu")]
    assert [job["used"]["engine"] for job in jobs] == [engine] * 2
    there, here = (losses(gpu_service, job) for job in jobs)
    np.testing.assert_allclose(there[:, :50], here[:, :50], rtol=1e-3)
    ours, theirs = (gpu_service.predict(job["id"], {"columns": {"t_u": [35.7]}})["outputs"] for job in jobs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)


def test_jobs_train_side_by_side_on_a_gpu(gpu_service: Service) -> None:
    """Queued fits of one kind are one program; each is near what it is alone."""
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
def test_a_killed_gpu_worker_costs_nothing(gpu_service: Service, precision: str) -> None:
    """Killed and resumed, a job ends with the bits of its undisturbed twin."""
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


def test_a_gpu_without_room_is_told_in_words(gpu_service: Service) -> None:
    """The layer, the batch and what it asked for; the worker takes the next job."""
    layers = [
        {"type": "Linear", "in_features": 1, "out_features": 1_000_000},
        {"type": "Tanh"},
        {"type": "Linear", "in_features": 1_000_000, "out_features": 1},
    ]
    units_bytes = 4 * 1_000_000
    count = torch.cuda.get_device_properties(0).total_memory // units_bytes  # two such tensors are too many
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


def test_a_gpu_that_is_not_there_is_refused(gpu_service: Service) -> None:
    """422 with the devices that there are."""
    response = gpu_service.submit(fit(device="cuda:7"))
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = response.json()["errors"]
    assert error["pointer"] == "#/device"
    assert "cuda:0" in error["detail"]
