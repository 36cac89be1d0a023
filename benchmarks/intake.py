"""Reading a large CSV to tensors, compared with `pyarrow.csv`, and the memory of the API during its upload.

python -m benchmarks.intake [megabytes]
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow as pa
import torch
from pyarrow import csv

from benchmarks.memory import watch_growth
from benchmarks.results import publish, table, verdict
from service.datasets.dataset import TabularDataset, load_dataset
from service.datasets.sources.columns import NUMBER
from service.datasets.sources.csv import CsvTable
from service.datasets.write_dataset import write_dataset
from service.demo import running_service
from service.specs.upload import ReadOptions

MEGABYTES = 1000
ROUNDS = 5
GOAL_RATIO, GOAL_MIB = 1.5, 300
COLUMNS = 9
ROWS_AT_ONCE = 200_000
CHUNK_BYTES = 2**20


def generate(path: Path, megabytes: int) -> None:
    """Write a CSV file with nine columns of floats, one of integers and one of quoted text."""
    generator, first = np.random.default_rng(0), True
    species = np.array(["setosa", "versicolor", "virginica", "another species"])
    with path.open("wb") as file:
        while file.tell() < megabytes * 1_000_000:
            numbers = np.round(generator.normal(size=(COLUMNS, ROWS_AT_ONCE)), 6)
            columns = {f"x{index}": pa.array(values) for index, values in enumerate(numbers)}
            columns["count"] = pa.array(generator.integers(0, 1000, ROWS_AT_ONCE))
            columns["species"] = pa.array(species[generator.integers(0, len(species), ROWS_AT_ONCE)])
            csv.write_csv(pa.table(columns), file, csv.WriteOptions(include_header=first))
            first = False


def read_with_fitserve(path: Path) -> None:
    """Store the file with its digest and report, and load its numbers as a float32 tensor [rows, k]."""
    stored = path.with_suffix(".arrow")
    write_dataset(CsvTable(path, ReadOptions()), stored, max_bytes=2**40)
    dataset = load_dataset(stored)
    if not isinstance(dataset, TabularDataset):
        raise TypeError("A CSV is a table.")
    columns = [column for column in dataset.table.columns if column.type == NUMBER]
    tensor = torch.empty(dataset.rows, len(columns))
    for index, column in enumerate(columns):
        tensor[:, index] = torch.from_numpy(column.to_numpy().astype(np.float32))


def read_with_pyarrow(path: Path) -> None:
    """Read the table into memory."""
    csv.read_csv(path)


READERS: dict[str, Callable[[Path], None]] = {
    "fitserve": read_with_fitserve,
    "pyarrow": read_with_pyarrow,
}


def seconds(reader: str, path: Path) -> float:
    """Run a reader in a new process, and return its duration without imports."""
    command = [sys.executable, "-m", "benchmarks.intake", reader, str(path)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def measure_once(reader: str, path: Path) -> None:
    """Run a reader and print its duration in seconds."""
    started = time.perf_counter()
    READERS[reader](path)
    print(time.perf_counter() - started)


def upload(path: Path) -> tuple[float, float]:
    """Return the duration of an upload in seconds, and the growth of the API process in MiB."""
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder)) as client,
    ):
        started = time.perf_counter()
        _, grown_bytes = watch_growth(_api_process(), lambda: send(client, path, "text/csv"))
        return time.perf_counter() - started, grown_bytes / 2**20


def send(client: httpx.Client, path: Path, media_type: str) -> str:
    """Upload a file in chunks, and return the id of the dataset."""
    headers = {"Content-Type": media_type}
    response = client.post("/v1/datasets", content=_chunks(path), headers=headers, timeout=600)
    if response.status_code != httpx.codes.CREATED:
        raise RuntimeError(response.text)
    dataset_id: str = response.json()["id"]
    return dataset_id


def _api_process() -> psutil.Process:
    """Return the process of the API."""
    return next(each for each in psutil.Process().children(recursive=True) if "serve" in each.cmdline())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def main(megabytes: int) -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    with tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder:
        path = Path(folder) / "data.csv"
        generate(path, megabytes)
        measured: dict[str, list[float]] = {reader: [] for reader in READERS}
        for number in range(ROUNDS + 1):
            for reader in READERS:
                duration = seconds(reader, path)
                if number:  # the first round warms the page cache
                    measured[reader].append(duration)
        upload_seconds, grown_mib = upload(path)
        text = report(path.stat().st_size / 1e6, measured, upload_seconds, grown_mib)
    publish("A large CSV", text, "bench-all")


def report(
    megabytes: float, measured: dict[str, list[float]], upload_seconds: float, grown_mib: float
) -> str:
    """Return the results as Markdown."""
    fitserve, pyarrow = (statistics.median(measured[reader]) for reader in READERS)
    ratio = statistics.median(a / b for a, b in zip(*measured.values(), strict=True))
    rows = [
        ["benchmark", "measured", "goal", ""],
        ["CSV to stored dataset and tensor", f"{fitserve:.2f} s", "", ""],
        ["`pyarrow.csv.read_csv` alone", f"{pyarrow:.2f} s", "", ""],
        ["ratio", f"{ratio:.2f}", f"≤ {GOAL_RATIO}×", verdict(ratio <= GOAL_RATIO)],
        ["upload, until the response", f"{upload_seconds:.2f} s", "", ""],
        [
            "maximum growth of the API process",
            f"{grown_mib:.0f} MiB",
            f"≤ {GOAL_MIB} MiB",
            verdict(grown_mib <= GOAL_MIB),
        ],
    ]
    return f"""A CSV file of {megabytes:.0f} MB: nine columns of floats, one of integers, one of
quoted text. Medians of {ROUNDS} alternating rounds, each in a new process, with the file in the page
cache. Fitserve stores the file as a dataset, with digest and report, and loads a float32 tensor;
`pyarrow.csv.read_csv` reads the file into memory. The upload goes over HTTP to a running service.

{table(rows)}
"""


if __name__ == "__main__":
    match sys.argv[1:]:
        case [reader, file]:
            measure_once(reader, Path(file))
        case [size]:
            main(int(size))
        case _:
            main(MEGABYTES)
