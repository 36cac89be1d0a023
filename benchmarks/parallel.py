"""A fit in two processes, compared with a plain script that `torchrun` starts, and with one process.

python -m benchmarks.parallel
"""

import io
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks import ddp_script
from benchmarks.results import publish, table, verdict
from service.demo import running_service

PROCESSES = 2
ROUNDS = 5
EPOCHS = {"mlp": 20, "cnn": 6}
GOAL_RATIO = 1.1
LAYERS: dict[str, list[dict[str, Any]]] = {
    "mlp": [
        {"type": "Flatten"},
        {"type": "Linear", "out_features": 1024},
        {"type": "ReLU"},
        {"type": "Linear", "out_features": 256},
        {"type": "ReLU"},
        {"type": "Linear", "out_features": 10},
    ],
    "cnn": [
        {"type": "Conv2d", "out_channels": 16, "kernel_size": 3},
        {"type": "ReLU"},
        {"type": "Conv2d", "out_channels": 16, "kernel_size": 3},
        {"type": "ReLU"},
        {"type": "Flatten"},
        {"type": "Linear", "out_features": 10},
    ],
}


def store(client: httpx.Client) -> str:
    """Upload the data of the script, and return the id of the dataset."""
    inputs, labels = ddp_script.data()
    file = io.BytesIO()
    np.savez(file, inputs=inputs.numpy(), targets=labels.numpy())
    answer = client.post(
        "/v1/datasets", content=file.getvalue(), headers={"Content-Type": "application/x-npz"}
    )
    dataset_id: str = answer.raise_for_status().json()["id"]
    return dataset_id


def job_seconds(client: httpx.Client, dataset_id: str, name: str, processes: int) -> float:
    """Train a model in a job, and return the seconds of the training."""
    body = {
        "data": {"dataset_id": dataset_id},
        "architecture": {"type": "sequential", "layers": LAYERS[name]},
        "training": {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "SGD", "lr": 0.01},
            "epochs": EPOCHS[name],
            "batch_size": ddp_script.BATCH_SIZE,
            "seed": 0,
        },
        "engine": "eager",
        "parallel": {"processes": processes},
    }
    answer = client.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).raise_for_status().json()
    if answer["status"] != "succeeded":
        raise RuntimeError(answer)
    seconds: float = answer["timings"]["training_seconds"]
    return seconds


def script_seconds(name: str) -> float:
    """Train a model in the script, and return the seconds of the training."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    script = [ddp_script.__file__, name, str(EPOCHS[name])]
    done = subprocess.run(
        [sys.executable, *command, *script], capture_output=True, text=True, check=True, timeout=300
    )
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def measure(client: httpx.Client, dataset_id: str, name: str) -> Sequence[float]:
    """Return the median seconds of a job of two processes, the script, and a job of one process."""
    rounds = [
        (
            job_seconds(client, dataset_id, name, PROCESSES),
            script_seconds(name),
            job_seconds(client, dataset_id, name, 1),
        )
        for _ in range(ROUNDS)
    ]
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def main() -> None:
    """Measure both models."""
    lines = [["model", "script of 2 processes", "job of 2 processes", "ratio", "job of 1 process", "goal"]]
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder), workers=PROCESSES) as client:
        dataset_id = store(client)
        for name in LAYERS:
            job_seconds(client, dataset_id, name, PROCESSES)  # not measured: the first job waits for a worker
            job, script, alone = measure(client, dataset_id, name)
            ratio = job / script
            lines.append(
                [
                    name,
                    f"{script:.2f} s",
                    f"{job:.2f} s",
                    f"{ratio:.2f}",
                    f"{alone:.2f} s",
                    f"≤ {GOAL_RATIO} ({verdict(ratio <= GOAL_RATIO)})",
                ]
            )
    text = (
        "Seconds of the training alone, medians of interleaved rounds. The script wraps the same model in "
        "`DistributedDataParallel` and is started by `torchrun`.\n\n" + table(lines)
    )
    publish("Jobs of several processes", text, "bench-all")


if __name__ == "__main__":
    main()
