"""Requests of the benchmarks: fits of the thermometer, digits and noisy data."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import httpx

from benchmarks.plain import digits_data, noisy_data
from service.demo import DATA


def thermometer_job(architecture: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Return the request of a fit to the thermometer data."""
    training = {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 1e-3}, "epochs": epochs, "seed": 0}
    return {"data": DATA, "architecture": architecture, "training": training}


def tanh_units(*widths: int) -> dict[str, Any]:
    """Return an architecture with one input, hidden layers of tanh units and one output."""
    return _mlp([1, *widths, 1], "Tanh")


def store_digits(client: httpx.Client) -> str:
    """Upload the digits data, and return the id of the dataset."""
    return _store(client, *digits_data())


def store_noisy(client: httpx.Client) -> str:
    """Upload the noisy data, and return the id of the dataset."""
    return _store(client, *noisy_data())


def _store(client: httpx.Client, inputs: Sequence[Any], targets: Sequence[Any]) -> str:
    response = client.post("/v1/datasets", json={"inputs": inputs, "targets": targets}).raise_for_status()
    dataset_id: str = response.json()["id"]
    return dataset_id


def digits_job(dataset_id: str, hidden: Sequence[int], epochs: int, batch_size: int = 32) -> dict[str, Any]:
    """Return the request of the fit of `plain.digits`, with hidden layers of the given widths."""
    training = {
        "loss": "CrossEntropyLoss",
        "optimizer": "Adam",
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": 0,
    }
    return {
        "data": {"dataset_id": dataset_id, "split": {"validation": 0.2}},
        "architecture": _mlp([64, *hidden, 10], "ReLU"),
        "training": training,
    }


def regularized_job(dataset_id: str, epochs: int, hidden: int = 64, rate: float = 0.2) -> dict[str, Any]:
    """Return the request of the fit of `plain.regularized`."""
    layers: list[dict[str, Any]] = []
    for width in (20, hidden):
        layers += [
            {"type": "Linear", "in_features": width, "out_features": hidden},
            {"type": "BatchNorm1d", "num_features": hidden},
            *({"type": "ReLU"}, {"type": "Dropout", "p": rate}),
        ]
    layers.append({"type": "Linear", "in_features": hidden, "out_features": 1})
    return {
        "data": {"dataset_id": dataset_id, "split": {"validation": 0.2}},
        "architecture": {"type": "sequential", "layers": layers},
        "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": epochs, "batch_size": 64, "seed": 0},
    }


def _mlp(widths: Sequence[int], activation: str) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    for before, after in itertools.pairwise(widths):
        layers += [{"type": "Linear", "in_features": before, "out_features": after}, {"type": activation}]
    return {"type": "sequential", "layers": layers[:-1]}


def timed_fit(client: httpx.Client, body: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Run a job; return the seconds from the submission to the response that it has ended, and the job."""
    started = time.perf_counter()
    job = client.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).json()
    seconds = time.perf_counter() - started
    if job.get("status") != "succeeded":
        raise RuntimeError(f"The job did not succeed: {job}")
    return seconds, job


def fit(client: httpx.Client, body: dict[str, Any]) -> float:
    """Run a job; return the seconds from the submission to the response that it has ended."""
    return timed_fit(client, body)[0]
