"""A fit to a Parquet file that is several times larger than the memory limit of its worker.

python -m benchmarks.beyond_memory
"""

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from benchmarks.intake import send
from benchmarks.results import publish, table
from service.demo import running_service

WORKER_MIB, TIMES_MEMORY = 256, 3
FEATURES, ROWS_AT_ONCE = 200, 50_000
EPOCHS, BATCH = 3, 4096
ENDED = ("succeeded", "failed", "cancelled")


def generate(path: Path) -> None:
    """Write random float32 features and a linear target, `TIMES_MEMORY` times the memory limit in size."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=FEATURES)
    schema = pa.schema([(name, pa.float32()) for name in [*_feature_names(), "y"]])
    with parquet.ParquetWriter(path, schema) as writer:
        while path.stat().st_size < TIMES_MEMORY * WORKER_MIB * 2**20:
            values = generator.normal(size=(FEATURES, ROWS_AT_ONCE)).astype(np.float32)
            columns = [*values, (weights @ values).astype(np.float32)]
            writer.write_table(pa.table(columns, schema=schema))


def _feature_names() -> list[str]:
    return [f"x{index}" for index in range(FEATURES)]


def fit(path: Path) -> tuple[float, dict[str, Any]]:
    """Return the duration of the upload in seconds, and the job after its end."""
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder), worker_memory_bytes=WORKER_MIB * 2**20) as client,
    ):
        started = time.perf_counter()
        dataset_id = send(client, path, "application/vnd.apache.parquet")
        upload_seconds = time.perf_counter() - started
        body = {
            "data": {
                "dataset_id": dataset_id,
                "features": _feature_names(),
                "targets": ["y"],
                "transforms": [{"columns": "numeric", "type": "standardize"}],
                "split": {"validation": 0.1, "seed": 0},
            },
            "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
            "training": {
                "loss": "MSELoss",
                "optimizer": {"type": "Adam", "lr": 0.1},
                "epochs": EPOCHS,
                "batch_size": BATCH,
                "seed": 0,
            },
        }
        job = client.post("/v1/jobs", json=body).raise_for_status().json()
        while job["status"] not in ENDED:
            time.sleep(0.2)
            job = client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
        return upload_seconds, job


def main() -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    with tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder:
        path = Path(folder) / "data.parquet"
        generate(path)
        size_mib = path.stat().st_size / 2**20
        text = report(size_mib, *fit(path))
    publish("Data larger than memory", text, "bench-all")


def report(size_mib: float, upload_seconds: float, job: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    reached = job["status"] == "succeeded"
    outcome = "reached" if reached else f"missed: {job['error']['detail']}"
    timings, latest = job["timings"] or {}, job["latest"] or {}
    times = f"{size_mib / WORKER_MIB:.1f}×"
    rows = [
        ["benchmark", "measured"],
        [f"goal: a job succeeds with a dataset of {times} its memory limit", outcome],
        ["upload, until the response", f"{upload_seconds:.1f} s"],
        ["setup: split, transforms, encoding", f"{timings.get('setup_seconds', math.nan):.1f} s"],
        [f"{EPOCHS} epochs", f"{timings.get('training_seconds', math.nan):.1f} s"],
        ["final validation loss", f"{latest.get('validation_loss', math.nan):.3g}"],
    ]
    return f"""A Parquet file of {size_mib:.0f} MiB with {FEATURES} float32 columns is uploaded to a
service with a memory limit of {WORKER_MIB} MiB per job. The job standardizes the features and fits
one `Linear` layer in shuffled batches of {BATCH}, with a validation after each epoch.

{table(rows)}
"""


if __name__ == "__main__":
    main()
