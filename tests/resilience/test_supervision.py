"""Jobs that hang, exceed limits or crash their worker: each ends, and other jobs continue."""

import io
import json
import math
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from tests.support.fits import LONG, thermometer
from tests.support.long_fits import CANCEL_SECONDS, interruptible, squaring, start_long_step
from tests.support.processes import wait_for_workers, worker_pids, workers
from tests.support.script import threads
from tests.support.server import Service, until

HANG_SECONDS = 6.0


@pytest.fixture(scope="module")
def strict_service(start_module_service: Callable[..., Service]) -> Iterator[Service]:
    """Start a service whose workers have little memory and a short hang limit."""
    service = start_module_service(
        workers=1, helpers=1, worker_memory_bytes=1024 * 2**20, hang_seconds=HANG_SECONDS
    )
    yield service
    service.stop()


def test_a_job_inside_a_long_step_is_cancelled_soon(service: Service) -> None:
    """A job in a long step is cancelled within two seconds, and its killed worker is replaced."""
    before = {worker.pid for worker in workers(service)}
    job_id = start_long_step(service)
    other = service.running(thermometer(epochs=LONG))
    begin = time.monotonic()
    service.client.post(f"/v1/jobs/{job_id}/cancel")
    job = service.ended(job_id)
    assert time.monotonic() - begin < CANCEL_SECONDS
    assert (job["status"], job["stop_reason"], job["error"]) == ("cancelled", "cancelled", None)
    until(lambda: len({worker.pid for worker in workers(service)} - before) == 1)
    until(lambda: len(workers(service)) == len(before))
    assert (service.job(other)["status"], service.job(other)["attempt"]) == ("running", 1)
    assert service.succeeded(thermometer(epochs=1))
    assert service.cancelled(other)[0]["status"] == "cancelled"


def test_max_runtime_ends_a_long_step(strict_service: Service) -> None:
    """`max_runtime_seconds` ends a step, and a job without a checkpoint fails."""
    job = strict_service.ended(start_long_step(strict_service, max_runtime_seconds=1))
    assert (job["status"], job["stop_reason"]) == ("failed", "max_runtime")
    assert job["error"]["type"] == "/problems/runtime-too-short"


def test_max_runtime_is_a_success_between_steps(strict_service: Service) -> None:
    """A job whose runtime is over between two steps succeeds."""
    job = strict_service.fit(thermometer(epochs=LONG, max_runtime_seconds=1))
    assert (job["status"], job["stop_reason"]) == ("succeeded", "max_runtime")
    assert 1.0 <= job["timings"]["training_seconds"] < 2.0
    assert strict_service.parameters(job["id"])


def test_a_deadline_applies_to_its_own_job_only(strict_service: Service) -> None:
    """A supervisor that was suspended handles all signals before it applies deadlines."""
    service = strict_service
    first_id = service.queued(thermometer(epochs=LONG, max_runtime_seconds=2))
    second_id = service.queued(thermometer(epochs=LONG))
    until(lambda: service.job(first_id)["progress"]["epoch"])
    service.process.suspend()
    time.sleep(5.0)  # the first job ends, the second starts, and the deadline of the first passes
    service.process.resume()
    until(lambda: service.job(second_id)["progress"]["epoch"])
    (second,) = service.cancelled(second_id)
    assert (second["status"], second["attempt"]) == ("cancelled", 1)
    first = service.job(first_id)
    assert (first["status"], first["stop_reason"], first["attempt"]) == ("succeeded", "max_runtime", 1)


def test_waiting_for_the_database_kills_no_worker(strict_service: Service) -> None:
    """A job whose runtime is over while the database is locked succeeds with its full history."""
    service = strict_service
    job_id = service.queued(thermometer(epochs=LONG, max_runtime_seconds=1.5))
    until(lambda: service.job(job_id)["progress"]["epoch"])
    with closing(sqlite3.connect(service.data_dir / "fitserve.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(3.5)  # longer than the runtime and the tolerance of a step
        holder.execute("ROLLBACK")
    job = service.ended(job_id)
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("succeeded", "max_runtime", 1)
    assert service.history(job_id)["epochs"] == list(range(1, job["progress"]["epoch"] + 1))


def test_the_test_pass_is_not_limited_by_max_runtime(service: Service) -> None:
    """The last checkpoint and the test pass do not count as runtime."""
    rows, tested = 2000, 1980
    body = squaring(8, 1, max_runtime_seconds=1, batch_size=20, optimizer={"type": "SGD", "lr": 1e-9})
    # m [rows, rows] is small for a batch and takes a second for all test rows.
    products = ["m = h @ h.T", *["m = torch.tanh(m @ m)"] * 6, "return self.down(m @ h)"]
    body["architecture"]["forward"] = "\n".join(["h = self.up(input)", *products])
    body["data"] = {
        "inputs": [[i / rows] for i in range(rows)],
        "targets": [[0.5]] * rows,
        "split": {"test": tested},
    }
    job = service.fit(body)
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("succeeded", "max_runtime", 1)
    assert job["test"]["loss"] is not None
    (saved,) = service.read(f"/v1/jobs/{job['id']}/checkpoints")["items"]
    assert saved["epoch"] == job["progress"]["epoch"] == job["latest"]["epoch"]
    assert service.history(job["id"])["epochs"] == list(range(1, saved["epoch"] + 1))


def test_a_job_that_hangs_has_two_attempts(strict_service: Service) -> None:
    """A worker without progress is killed, and the job fails with the reason after two attempts."""
    job = strict_service.ended(start_long_step(strict_service))
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("failed", "error", 2)
    assert job["error"]["type"] == "/problems/worker-lost"
    assert "made no progress for 6 s" in job["error"]["detail"]
    assert strict_service.succeeded(thermometer(epochs=1))


def test_a_long_validation_is_no_hang(strict_service: Service) -> None:
    """A validation in slices may take longer than the hang limit."""
    width, slices = 2048, 12  # a slice of 2048 rows has 16 MiB
    square, seconds = torch.zeros(width, width), math.inf
    with threads(1):
        for _ in range(3):
            begin = time.monotonic()
            torch.tanh(square @ square)
            seconds = min(seconds, time.monotonic() - begin)
    products = max(1, round(1.5 * HANG_SECONDS / slices / seconds))
    rows = 2 + slices * width
    arrays = {"inputs": np.zeros((rows, width), np.float32), "targets": np.zeros((rows, 1), np.float32)}
    # m [rows, rows] is negligible for the two training rows.
    forward = ["m = input @ input.T", *["m = torch.tanh(m @ m)"] * products, "return self.down(m @ input)"]
    job = strict_service.succeeded(
        {
            "data": {
                "dataset_id": upload(strict_service, arrays),
                "split": {"validation": slices * width},
            },
            "architecture": {
                "type": "module",
                "submodules": {"down": {"type": "Linear", "in_features": width, "out_features": 1}},
                "forward": "\n".join(forward),
            },
            "training": {**thermometer()["training"], "epochs": 1},
            "engine": "eager",
        }
    )
    assert job["timings"]["training_seconds"] > HANG_SECONDS
    assert job["attempt"] == 1


def test_a_job_that_crashes_its_process_fails(strict_service: Service) -> None:
    """A job that exhausts memory and may crash its worker fails with the reason."""
    steps = 1_000_000
    arrays = {"inputs": np.zeros((2, steps, 1), np.float32), "targets": np.zeros((2, 1), np.float32)}
    job = strict_service.fit(
        {
            **thermometer(epochs=1),
            "data": {"dataset_id": upload(strict_service, arrays)},
            "architecture": {
                "type": "module",
                "submodules": {"cell": {"type": "GRU", "input_size": 1, "hidden_size": 1}},
                "forward": "outputs, last = self.cell(input.transpose(0, 1))\nreturn last[0]",
            },
        }
    )
    assert (job["status"], job["stop_reason"]) == ("failed", "error")
    # The type depends on the allocation that fails.
    assert job["error"]["type"] in ("/problems/worker-lost", "/problems/out-of-memory")
    assert "memory" in job["error"]["detail"]
    assert strict_service.succeeded(thermometer(epochs=1))


def upload(service: Service, arrays: dict[str, Any]) -> str:
    """Upload arrays as a dataset and return its id."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    answer = service.client.post("/v1/datasets", content=file.getvalue())
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_job_that_needs_too_much_memory_fails(strict_service: Service, engine: str) -> None:
    """A job that exceeds memory fails with the requested size and the limit, and its worker survives."""
    before = {worker.pid for worker in workers(strict_service)}
    job = strict_service.fit({**squaring(30_000, 1), "engine": engine})
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("failed", "error", 1)
    assert job["error"]["type"] == "/problems/out-of-memory"
    asked = {"eager": "3.4", "compiled": "13.4"}[engine]  # for one matrix, for all live buffers
    assert f"tried to allocate {asked} GiB for a batch of 9" in job["error"]["detail"]
    assert "A job may take 1.0 GiB." in job["error"]["detail"]
    assert job["error"]["errors"][0]["pointer"] == "#/training/batch_size"
    assert strict_service.succeeded(thermometer(epochs=1))
    assert {worker.pid for worker in workers(strict_service)} == before


def test_a_job_that_divides_by_zero_fails(strict_service: Service) -> None:
    """A job fails with the error of PyTorch, and its worker runs the next job."""
    before = {worker.pid for worker in workers(strict_service)}
    job = strict_service.fit(
        {
            **thermometer(epochs=3, batch_size=4, shuffle=False),
            "data": {"inputs": [[1.0]] * 7 + [[0.0]], "targets": [[1.0]] * 8},
            "architecture": {
                "type": "module",
                "submodules": {"out": {"type": "Linear", "in_features": 1, "out_features": 1}},
                "forward": "k = input.long()\nreturn self.out(input + torch.remainder(k + 1, k).float())",
            },
        }
    )
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("failed", "error", 1)
    assert job["error"]["type"] == "/problems/training-failed"
    assert "ZeroDivisionError" in job["error"]["detail"]
    assert strict_service.succeeded(thermometer(epochs=1))
    assert {worker.pid for worker in workers(strict_service)} == before


def test_the_layer_that_needs_too_much_memory_is_named(strict_service: Service) -> None:
    """The error names the layer that exceeds memory."""
    layers = [
        {"type": "Linear", "out_features": 1},
        {"name": "wide", "type": "Upsample", "scale_factor": 3e8},
        {"type": "AdaptiveAvgPool1d", "output_size": 1},
        {"type": "Flatten"},
    ]
    body = {
        **thermometer(layers, epochs=1),
        "data": {"inputs": [[[0.0]], [[1.0]]], "targets": [[0.0], [1.0]]},
    }
    detail = strict_service.fit(body)["error"]["detail"]
    assert detail.startswith("Layer `wide` (Upsample) tried to allocate")


def test_a_job_that_kills_its_workers_fails(strict_service: Service) -> None:
    """A job fails after two lost workers without a newer checkpoint."""
    job_id = strict_service.queued(interruptible(epochs=LONG, max_runtime_seconds=60))
    for attempt in (1, 2):

        def runs(attempt: int = attempt) -> bool:
            job = strict_service.job(job_id)
            return (job["status"], job["attempt"]) == ("running", attempt)

        until(runs)
        workers(strict_service)[0].kill()
    job = strict_service.ended(job_id)
    assert (job["status"], job["stop_reason"], job["attempt"]) == ("failed", "error", 2)
    assert job["error"]["type"] == "/problems/worker-lost"
    assert "killed by SIGKILL" in job["error"]["detail"]
    assert strict_service.succeeded(thermometer(epochs=1))


@pytest.mark.parametrize(
    "crash", [signal.SIGKILL, signal.SIGSEGV, pytest.param(signal.SIGABRT, marks=pytest.mark.exhaustive)]
)
def test_a_dead_worker_is_replaced_at_once(service: Service, crash: signal.Signals) -> None:
    """A dead worker is replaced within a second while other workers continue."""
    ids = [service.running(thermometer(epochs=LONG)) for _ in range(2)]
    victim, other = wait_for_workers(service, 2)
    before = {victim.pid, other.pid}
    victim.send_signal(crash)

    def attempts() -> list[int]:
        jobs = [service.job(job_id) for job_id in ids]
        return sorted(job["attempt"] for job in jobs if job["status"] == "running")

    until(lambda: attempts() == [1, 2])
    pids = worker_pids(service)
    (joined,) = (each for each in service.read("/v1/system")["workers"] if pids[each["id"]] not in before)
    died = [line for line in service.log.read_text().splitlines() if '"worker died"' in line][-1]
    took = at(joined["started_at"]) - at(json.loads(died)["timestamp"])
    assert took.total_seconds() < 1.0
    assert other.is_running()
    assert attempts() == [1, 2]
    service.cancelled(*ids)
    until(lambda: len(workers(service)) == 2)  # other tests use this service


def at(timestamp: str) -> datetime:
    """A moment as the service writes it."""
    return datetime.fromisoformat(timestamp)
