"""Jobs that several worker processes train together."""

import random
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.fits import LONG, tensors, thermometer
from tests.support.long_fits import interruptible
from tests.support.processes import wait_for_workers, worker_of
from tests.support.server import Service, until

ROWS = 45  # with batches of 16, the last one has fewer rows than it takes to divide it evenly
WORKERS = 4


@pytest.fixture(scope="module")
def wide_service(start_module_service: Callable[..., Service]) -> Service:
    """A service with four workers."""
    return start_module_service(workers=WORKERS, helpers=1)


def together(body: dict[str, Any], processes: int, **parallel: Any) -> dict[str, Any]:
    """Return a request for several processes."""
    return {**body, "parallel": {"processes": processes, **parallel}}


def images() -> dict[str, Any]:
    """Return a classification of images [1, 8, 8] with weights of classes and a label that is no class."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, 1, 8, 8)).tolist()
    layers = [
        {"type": "Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3},
        {"type": "ReLU"},
        {"type": "Flatten"},
        {"type": "Linear", "out_features": 3},
    ]
    loss = {"type": "CrossEntropyLoss", "weight": [1.0, 3.0, 0.5], "ignore_index": 7}
    # All labels of the first batch are ignored, and all of a process's part of others.
    targets = [7 if row < 16 or row % 5 == 0 else row % 3 for row in range(ROWS)]
    return tensors(
        inputs, targets, layers, loss=loss, epochs=4, batch_size=16, shuffle=False, metrics=["accuracy"]
    )


def sequences() -> dict[str, Any]:
    """Return a regression of sequences [6, 8] with a transformer, its gradients clipped."""
    generator = np.random.default_rng(1)
    architecture = {
        "type": "module",
        "submodules": {
            "encoder": {
                "type": "TransformerEncoderLayer",
                "d_model": 8,
                "nhead": 2,
                "dim_feedforward": 16,
                "dropout": 0.0,
                "batch_first": True,
            },
            "head": {"type": "Linear", "in_features": 8, "out_features": 1},
        },
        "forward": "return self.head(self.encoder(input).mean(dim=1))",
    }
    inputs, targets = generator.normal(size=(ROWS, 6, 8)), generator.normal(size=(ROWS, 1))
    body = tensors(
        inputs.tolist(),
        targets.tolist(),
        [],
        epochs=4,
        batch_size=16,
        gradient_clip_norm=0.5,
        metrics=["r2_score"],
    )
    return {**body, "architecture": architecture}


def perceptron(**training: Any) -> dict[str, Any]:
    """Return a regression with weights of rows, and validation."""
    generator = random.Random(2)
    columns = {name: [generator.gauss(0, 1) for _ in range(ROWS)] for name in ("a", "b")}
    columns |= {"y": [a * b for a, b in zip(columns["a"], columns["b"], strict=True)]}
    columns |= {"w": [float(row % 4) for row in range(ROWS)]}
    layers = [
        {"type": "Linear", "out_features": 8},
        {"type": "Tanh"},
        {"type": "Linear", "out_features": 1},
    ]
    body = thermometer(
        layers, **{"epochs": 4, "batch_size": 16, "metrics": ["mean_absolute_error"], **training}
    )
    data = {"columns": columns, "features": ["a", "b"], "targets": ["y"], "weights": "w"}
    return {**body, "data": {**data, "split": {"validation": 0.2, "seed": 0}}}


REQUESTS = {
    "perceptron": perceptron,
    "full batch": lambda: perceptron(batch_size=None),
    "images": images,
    "sequences": sequences,
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
def test_several_processes_give_the_losses_of_one(
    wide_service: Service, request_of: Callable[[], dict[str, Any]]
) -> None:
    """Losses, metrics and parameters are those of one process up to rounding, however batches divide."""
    body = request_of()
    alone = wide_service.succeeded(body)
    expected, parameters = wide_service.history(alone["id"]), wide_service.parameters(alone["id"])
    for processes in (2, 4):
        job = wide_service.succeeded(together(body, processes))
        assert any(f"train in {processes} processes" in line for line in wide_service.messages(job["id"]))
        history = wide_service.history(job["id"])
        assert history["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5, abs=1e-6)
        if body["data"].get("split"):
            assert history["validation_loss"] == pytest.approx(
                expected["validation_loss"], rel=1e-5, abs=1e-6
            )
        for name, splits in expected["metrics"].items():
            assert history["metrics"][name]["train"] == pytest.approx(splits["train"], rel=1e-4, abs=1e-5)
        for name, found in wide_service.parameters(job["id"]).items():
            np.testing.assert_allclose(found["values"], parameters[name]["values"], atol=1e-5)


@pytest.mark.parametrize("lost", ["first", "other"])
def test_a_lost_process_takes_the_job_back_to_its_checkpoint(wide_service: Service, lost: str) -> None:
    """With dropout, drawn by each process for itself: the bits are those of a job that lost none."""
    body = together(interruptible(epochs=60, checkpoint_every=10), WORKERS)
    undisturbed = wide_service.succeeded(body)
    job_id = wide_service.queued(body)
    until(lambda: wide_service.job(job_id)["progress"]["epoch"] >= 15)
    lead = worker_of(wide_service, job_id)
    others = [worker for worker in wait_for_workers(wide_service, WORKERS) if worker.pid != lead.pid]
    (lead if lost == "first" else others[0]).send_signal(signal.SIGKILL)
    job = wide_service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert wide_service.history(job_id)["train_loss"] == wide_service.history(undisturbed["id"])["train_loss"]
    assert wide_service.parameters(job_id) == wide_service.parameters(undisturbed["id"])


def test_a_job_is_paused_resumed_and_cancelled(wide_service: Service) -> None:
    """All processes stop together, and its workers are free again."""
    job_id = wide_service.queued(together(interruptible(epochs=LONG), WORKERS))
    until(lambda: wide_service.job(job_id)["progress"]["epoch"])
    wide_service.client.post(f"/v1/jobs/{job_id}/pause")
    until(lambda: wide_service.job(job_id)["status"] == "paused")
    assert wide_service.succeeded(thermometer(epochs=1))
    paused_at = wide_service.job(job_id)["progress"]["epoch"]
    wide_service.client.post(f"/v1/jobs/{job_id}/resume")
    until(lambda: wide_service.job(job_id)["progress"]["epoch"] > paused_at)
    (job,) = wide_service.cancelled(job_id)
    assert job["status"] == "cancelled"
    assert wide_service.succeeded(thermometer(epochs=1))


def test_it_waits_until_enough_workers_are_idle(wide_service: Service) -> None:
    """A job for all workers starts when the jobs before it have ended, and the queue goes on after it."""
    running = [wide_service.running(thermometer(epochs=LONG)) for _ in range(2)]
    job_id = wide_service.queued(together(interruptible(epochs=1), WORKERS))
    later = wide_service.queued(thermometer(epochs=1))
    assert wide_service.job(job_id)["status"] == "queued"
    wide_service.cancelled(*running)
    assert wide_service.ended(job_id)["status"] == "succeeded"
    assert wide_service.ended(later)["status"] == "succeeded"


def test_a_job_that_is_cancelled_while_it_waits_frees_the_held_workers(wide_service: Service) -> None:
    """Workers that are held for a job go on with the queue when it is cancelled, though others are busy."""
    running = [wide_service.running(thermometer(epochs=LONG)) for _ in range(2)]
    job_id = wide_service.queued(together(interruptible(epochs=1), WORKERS))
    later = [wide_service.queued(thermometer(epochs=1)) for _ in range(2)]
    assert wide_service.cancelled(job_id)[0]["status"] == "cancelled"
    assert {wide_service.ended(each)["status"] for each in later} == {"succeeded"}
    wide_service.cancelled(*running)


def test_it_starts_with_fewer_processes_where_it_may(wide_service: Service) -> None:
    """A job with `min_processes` takes the workers that are idle; a client sees how many."""
    running = [wide_service.running(thermometer(epochs=LONG)) for _ in range(2)]
    job = wide_service.succeeded(together(interruptible(epochs=2), WORKERS, min_processes=2))
    assert any("train in 2 processes" in line for line in wide_service.messages(job["id"]))
    wide_service.cancelled(*running)


def test_more_processes_than_workers_are_refused(wide_service: Service) -> None:
    """The error has the number of workers, with which the request is accepted."""
    wait_for_workers(wide_service, WORKERS)  # a cancelled job may have cost one
    answer = wide_service.submit(together(interruptible(epochs=1), WORKERS + 1))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "#/parallel/processes"
    assert f"Use at most {WORKERS}" in error["detail"]
