"""The demo: calibrate a thermometer with three models over HTTP, using a temporary service."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
from rich.console import Console
from rich.table import Table

from service.start_errors import ExitStatus, StartError, StartFailed

# Temperatures in degrees Celsius, and readings of a thermometer with unknown units.
T_C = [0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0]
T_U = [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4]
DATA = {
    "columns": {"t_u": T_U, "t_c": T_C},
    "features": ["t_u"],
    "targets": ["t_c"],
    "transforms": [{"columns": ["t_u"], "type": "scale", "factor": 0.1}],
    "split": {"validation": 0.2, "seed": 0},
}
LINEAR = {"type": "sequential", "layers": [{"type": "Linear", "in_features": 1, "out_features": 1}]}
SEQUENTIAL = {
    "type": "sequential",
    "layers": [
        {"type": "Linear", "in_features": 1, "out_features": 13},
        {"type": "Tanh"},
        {"type": "Linear", "in_features": 13, "out_features": 1},
    ],
}
ORDERED = {
    "type": "sequential",
    "layers": [
        {"name": "hidden_linear", "type": "Linear", "in_features": 1, "out_features": 8},
        {"name": "hidden_activation", "type": "Tanh"},
        {"name": "output_linear", "type": "Linear", "in_features": 8, "out_features": 1},
    ],
}
FITS = (
    ("nn.Linear(1, 1)", LINEAR, 1e-2, 3000),
    ("nn.Sequential(Linear, Tanh, Linear)", SEQUENTIAL, 1e-3, 5000),
    ("nn.Sequential(OrderedDict(...))", ORDERED, 1e-3, 5000),
)
START_SECONDS = 300.0
POLL_SECONDS = 0.1

T = TypeVar("T")


def run_demo() -> None:
    """Start a service, fit the three models, print the results, and stop the service."""
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-demo-") as folder,
        running_service(Path(folder)) as client,
    ):
        for title, architecture, learning_rate, epochs in FITS:
            console.rule(f"[bold]{title}")
            _fit(console, client, architecture, learning_rate, epochs)
    console.print("The service has stopped; its data was deleted.")


@contextmanager
def running_service(data_dir: Path, **settings: object) -> Iterator[httpx.Client]:
    """Run a service on a free port, and yield a client for it.

    Args:
        data_dir: Its data folder; also gets its log.
        **settings: Further fields of `Settings`.

    Raises:
        StartFailed: The service exited early, or was not ready in time.
    """
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with (data_dir / "service.log").open("w+") as log:
        variables = {f"FITSERVE_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**os.environ, **variables, "FITSERVE_LOG_FORMAT": "json"}
        process = subprocess.Popen(command, stderr=log, env=environment)
        try:
            url = _wait_for(lambda: _url(data_dir / "service.log"), process, data_dir)
            with httpx.Client(base_url=url, timeout=90.0) as client:
                ready = {"workers": "true"}
                _wait_for(lambda: client.get("/readyz", params=ready).is_success, process, data_dir)
                yield client
        finally:
            process.terminate()
            process.wait()


def _url(log: Path) -> str | None:
    """Return the URL that the service has logged; None before it listens."""
    events = [orjson.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return next((event["url"] for event in events if "url" in event), None)


def _wait_for(read: Callable[[], T | None], process: subprocess.Popen[bytes], data_dir: Path) -> T:
    """Poll `read` until its result is true, and return that."""
    deadline = time.monotonic() + START_SECONDS
    while not (result := read()):
        if process.poll() is not None:
            raise _failure(process.returncode, (data_dir / "service.log").read_text())
        if time.monotonic() > deadline:
            sentence = f"The service was not ready after {START_SECONDS:g} s."
            raise StartFailed([StartError(ExitStatus.ADDRESS, sentence)])
        time.sleep(POLL_SECONDS)
    return result


def _failure(status: int, log: str) -> StartFailed:
    """Return the causes that a service has written before its exit."""
    if status not in [*ExitStatus]:
        return StartFailed([StartError(ExitStatus.SETTINGS, f"The service exited with {status}:\n{log}")])
    sentences = [line for line in log.splitlines() if not line.startswith("{")]
    return StartFailed([StartError(ExitStatus(status), sentence) for sentence in sentences])


def _fit(
    console: Console, client: httpx.Client, architecture: dict[str, Any], learning_rate: float, epochs: int
) -> None:
    """Submit a job, wait for its end, and print its parameters, losses and predictions."""
    training = {
        "loss": "MSELoss",
        "optimizer": {"type": "SGD", "lr": learning_rate},
        "epochs": epochs,
        "seed": 0,
    }
    body = {"data": DATA, "architecture": architecture, "training": training}
    job = client.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).raise_for_status().json()
    job_path = f"/v1/jobs/{job['id']}"
    console.print(
        f"{job['id']}: {job['status']} after {job['timings']['training_seconds']:.2f} s of training"
    )
    parameters = client.get(f"{job_path}/named_parameters").raise_for_status().json()
    console.print(parameters["module"], markup=False, highlight=False)
    for parameter in parameters["parameters"]:
        console.print(f"{parameter['name']} {parameter['shape']}", markup=False)
    history = client.get(f"{job_path}/history", params={"every": 1000}).raise_for_status().json()
    for epoch, train, validation in zip(
        history["epochs"], history["train_loss"], history["validation_loss"], strict=True
    ):
        console.print(f"Epoch {epoch}, training loss {train:.4f}, validation loss {validation:.4f}")
    predictions = (
        client.post(f"{job_path}/predictions", json={"columns": {"t_u": T_U}}).raise_for_status().json()
    )
    table = Table("t_u", "t_c", "predicted")
    for t_u, t_c, (predicted,) in zip(T_U, T_C, predictions["outputs"], strict=True):
        table.add_row(f"{t_u:.1f}", f"{t_c:.1f}", f"{predicted:.1f}")
    console.print(table)
