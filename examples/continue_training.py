"""Pause and resume a job, read one of its checkpoints, and continue it to more epochs."""

import os
import time
from typing import Any

import httpx

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
JOB: dict[str, Any] = {
    "data": {"columns": {"x": [0, 1, 2, 3], "y": [1, 3, 5, 7]}, "features": ["x"], "targets": ["y"]},
    "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
    "training": {
        "loss": "MSELoss",
        "optimizer": {"type": "Adam", "lr": 0.01},
        "epochs": 4000,
        "checkpoint_every": 1000,
        "seed": 0,
    },
    "engine": "eager",
}


def wait(client: httpx.Client, path: str, *statuses: str) -> dict[str, Any]:
    """Return the job once it has one of the statuses."""
    while True:
        job: dict[str, Any] = client.get(path).raise_for_status().json()
        if job["status"] in statuses:
            return job
        time.sleep(0.05)


def main() -> None:
    """Pause, resume, read, continue."""
    with httpx.Client(base_url=URL, timeout=60.0) as client:
        first = client.post("/v1/jobs", json=JOB).raise_for_status().json()
        path = first["links"]["self"]

        client.post(f"{path}/pause").raise_for_status()
        # The job pauses after its current step; a fast machine may have ended it before.
        job = wait(client, path, "paused", "succeeded")
        print(f"{job['status']} at epoch {job['progress']['epoch']}")
        if job["status"] == "paused":
            client.post(f"{path}/resume").raise_for_status()
        job = wait(client, path, "succeeded", "failed")
        print(f"{job['status']} at epoch {job['progress']['epoch']}, loss {job['latest']['train_loss']:.2g}")

        checkpoints = client.get(f"{path}/checkpoints").raise_for_status().json()["items"]
        print(f"checkpoints: {sorted(each['epoch'] for each in checkpoints)}")
        answer = client.get(f"{path}/named_parameters/0.weight", params={"checkpoint": 1000})
        print(f"weight at epoch 1000: {answer.raise_for_status().json()['values']}")

        # The continuation repeats the request, with more epochs.
        training = {**JOB["training"], "epochs": 6000, "from_job": first["id"], "resume": True}
        answer = client.post("/v1/jobs", json={**JOB, "training": training}).raise_for_status()
        job = wait(client, answer.json()["links"]["self"], "succeeded", "failed")
        print(f"{job['status']} at epoch {job['progress']['epoch']}, loss {job['latest']['train_loss']:.2g}")


if __name__ == "__main__":
    main()
