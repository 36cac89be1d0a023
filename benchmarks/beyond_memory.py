"""A fit on a Parquet file of several times the memory that its worker may take.

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
    """Random float32 features and a target that is linear in them, of `TIMES_MEMORY` times the memory."""
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
    """Seconds of the upload, and the job once it has ended."""
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
    """Measure, print, write."""
    with tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder:
        path = Path(folder) / "data.parquet"
        generate(path)
        size_mib = path.stat().st_size / 2**20
        text = report(size_mib, *fit(path))
    publish("More data than memory", text, "bench-all")


def report(size_mib: float, upload_seconds: float, job: dict[str, Any]) -> str:
    """The results as Markdown."""
    reached = job["status"] == "succeeded"
    outcome = "reached: the job succeeded" if reached else f"missed: {job['error']['detail']}"
    timings, latest = job["timings"] or {}, job["latest"] or {}
    times = f"{size_mib / WORKER_MIB:.1f}×"
    rows = [
        ["what", "measured"],
        [f"goal: a dataset of {times} the job's memory trains to its end", outcome],
        ["upload, to the answer", f"{upload_seconds:.1f} s"],
        ["set-up: split, transforms, encoding", f"{timings.get('setup_seconds', math.nan):.1f} s"],
        [f"{EPOCHS} epochs", f"{timings.get('training_seconds', math.nan):.1f} s"],
        ["validation loss at the end", f"{latest.get('validation_loss', math.nan):.3g}"],
    ]
    return f"""A Parquet file of {size_mib:.0f} MiB, {FEATURES} columns of float32, is uploaded
to a service whose jobs may take {WORKER_MIB} MiB, standardized, and fitted by one `Linear` layer in
shuffled batches of {BATCH}, validated each epoch.

{table(rows)}
"""


if __name__ == "__main__":
    main()
