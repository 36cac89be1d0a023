"""A large CSV to tensors beside `pyarrow.csv` alone, and the memory of the API while the file is uploaded.

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

from benchmarks.memory import watched
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
    """A CSV of nine columns of numbers, one of whole numbers and one of quoted text."""
    generator, first = np.random.default_rng(0), True
    kinds = np.array(["setosa", "versicolor", "virginica", "another kind"])
    with path.open("wb") as file:
        while file.tell() < megabytes * 1_000_000:
            numbers = np.round(generator.normal(size=(COLUMNS, ROWS_AT_ONCE)), 6)
            columns = {f"x{index}": pa.array(values) for index, values in enumerate(numbers)}
            columns["count"] = pa.array(generator.integers(0, 1000, ROWS_AT_ONCE))
            columns["kind"] = pa.array(kinds[generator.integers(0, len(kinds), ROWS_AT_ONCE)])
            csv.write_csv(pa.table(columns), file, csv.WriteOptions(include_header=first))
            first = False


def ours(path: Path) -> None:
    """The stored file, its digest and report, and a float32 tensor [rows, k] of its numbers."""
    stored = path.with_suffix(".arrow")
    write_dataset(CsvTable(path, ReadOptions()), stored, max_bytes=2**40)
    dataset = load_dataset(stored)
    if not isinstance(dataset, TabularDataset):
        raise TypeError("A CSV is a table.")
    columns = [column for column in dataset.table.columns if column.type == NUMBER]
    tensor = torch.empty(dataset.rows, len(columns))
    for index, column in enumerate(columns):
        tensor[:, index] = torch.from_numpy(column.to_numpy().astype(np.float32))


def theirs(path: Path) -> None:
    """The table that pyarrow reads into memory, and nothing more."""
    csv.read_csv(path)


SIDES: dict[str, Callable[[Path], None]] = {"ours": ours, "theirs": theirs}


def seconds(side: str, path: Path) -> float:
    """How long one side takes, in a process of its own, once what it needs is imported."""
    command = [sys.executable, "-m", "benchmarks.intake", side, str(path)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def measure_once(side: str, path: Path) -> None:
    """Print the seconds of one side."""
    started = time.perf_counter()
    SIDES[side](path)
    print(time.perf_counter() - started)


def upload(path: Path) -> tuple[float, float]:
    """Seconds of an upload through HTTP, and by how many MiB the API's process grew above idle."""
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder)) as client,
    ):
        started = time.perf_counter()
        _, grown_bytes = watched(_api_process(), lambda: send(client, path, "text/csv"))
        return time.perf_counter() - started, grown_bytes / 2**20


def send(client: httpx.Client, path: Path, media_type: str) -> str:
    """Upload a file in chunks; the id of the dataset."""
    headers = {"Content-Type": media_type}
    response = client.post("/v1/datasets", content=_chunks(path), headers=headers, timeout=600)
    if response.status_code != httpx.codes.CREATED:
        raise RuntimeError(response.text)
    dataset_id: str = response.json()["id"]
    return dataset_id


def _api_process() -> psutil.Process:
    """The service: the only child that serves."""
    return next(each for each in psutil.Process().children(recursive=True) if "serve" in each.cmdline())


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def main(megabytes: int) -> None:
    """Measure in turn, print, write."""
    with tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder:
        path = Path(folder) / "data.csv"
        generate(path, megabytes)
        measured: dict[str, list[float]] = {side: [] for side in SIDES}
        for number in range(ROUNDS + 1):
            for side in SIDES:
                took = seconds(side, path)
                if number:  # the first round warms the page cache
                    measured[side].append(took)
        upload_seconds, grown_mib = upload(path)
        text = report(path.stat().st_size / 1e6, measured, upload_seconds, grown_mib)
    publish("A large CSV", text, "bench-all")


def report(
    megabytes: float, measured: dict[str, list[float]], upload_seconds: float, grown_mib: float
) -> str:
    """The results as Markdown."""
    mine, other = (statistics.median(measured[side]) for side in SIDES)
    ratio = statistics.median(a / b for a, b in zip(*measured.values(), strict=True))
    rows = [
        ["what", "measured", "goal", ""],
        ["CSV to stored file and tensors", f"{mine:.2f} s", "", ""],
        ["`pyarrow.csv.read_csv` alone", f"{other:.2f} s", "", ""],
        ["ratio", f"{ratio:.2f}", f"≤ {GOAL_RATIO}×", verdict(ratio <= GOAL_RATIO)],
        ["upload, to the answer", f"{upload_seconds:.2f} s", "", ""],
        [
            "API process above idle, at most",
            f"{grown_mib:.0f} MiB",
            f"≤ {GOAL_MIB} MiB",
            verdict(grown_mib <= GOAL_MIB),
        ],
    ]
    return f"""{megabytes:.0f} MB: nine columns of numbers, one of whole numbers, one of quoted
text. Medians of {ROUNDS} rounds, in turn, each in a process of its own, the file in the page cache.
Fitserve reads it to the file it keeps, with digest and report, and to a float32 tensor; beside it
`pyarrow.csv.read_csv` reads it into memory. The upload goes through HTTP to a running service.

{table(rows)}
"""


if __name__ == "__main__":
    match sys.argv[1:]:
        case [side, file]:
            measure_once(side, Path(file))
        case [size]:
            main(int(size))
        case _:
            main(MEGABYTES)
