"""Memory of a training, compared with a plain loop, and of a worker after 1000 architectures.

python -m benchmarks.memory
"""

import itertools
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import torch

from benchmarks import plain
from benchmarks.jobs import digits_job, fit, store_digits, tanh_units, thermometer_job
from benchmarks.results import publish, table, verdict
from service.demo import running_service

HIDDEN, LAYERS, EPOCHS = 2048, 2, 2
GOAL_RATIO = 1.1
ARCHITECTURES, SETTLED = 1000, 100
WIDTHS = range(1, 33)

T = TypeVar("T")


def watch_growth(process: psutil.Process, call: Callable[[], T]) -> tuple[T, int]:
    """Return the result of a call, and the maximum growth of a process during it, in bytes."""
    before, highest, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            highest[0] = max(highest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return result, max(0, highest[0] - before)


def workers() -> list[psutil.Process]:
    """Return the worker processes of the service, including spares."""
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if each.cmdline()[:1] == ["fitserve worker"]
    ]


def plain_bytes() -> int:
    """Measure the plain loop in a new process; return its growth in bytes."""
    command = [sys.executable, "-m", "benchmarks.memory", "plain"]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def measure_plain() -> None:
    """Print the growth of this process during the plain loop, in bytes; a first step is not counted."""
    torch.set_num_threads(1)
    plain.digits(1, hidden=1)
    print(watch_growth(psutil.Process(), lambda: plain.digits(EPOCHS, hidden=HIDDEN, layers=LAYERS))[1])


def fit_bytes(client: httpx.Client) -> int:
    """Return the growth of a worker during the same training, in bytes; a first job is not counted."""
    digits_id = store_digits(client)
    fit(client, digits_job(digits_id, [1], 1))
    process, *_ = workers()
    return watch_growth(process, lambda: fit(client, digits_job(digits_id, [HIDDEN] * LAYERS, EPOCHS)))[1]


def after_architectures(client: httpx.Client) -> tuple[float, float]:
    """Train many architectures; return the worker's memory after `SETTLED` and after all, in MiB."""
    process, settled = workers()[0], 0.0
    for number, widths in enumerate(itertools.islice(itertools.product(WIDTHS, WIDTHS), ARCHITECTURES), 1):
        fit(client, {**thermometer_job(tanh_units(*widths), 10), "engine": "compiled"})
        if number == SETTLED:
            settled = process.memory_info().rss / 2**20
    return settled, process.memory_info().rss / 2**20


def main() -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder), workers=1, spare_workers=0) as client,
    ):
        ours, theirs = fit_bytes(client), plain_bytes()
        settled, after = after_architectures(client)
    publish("Memory", report(ours, theirs, settled, after), "bench-all")


def report(ours: int, theirs: int, settled: float, after: float) -> str:
    """Return the results as Markdown."""
    rows = [
        ["benchmark", "Fitserve, MiB", "baseline, MiB", "ratio", "goal", ""],
        [
            f"digits, 64-{HIDDEN}-{HIDDEN}-10, batches of 32, maximum growth",
            f"{ours / 2**20:.0f}",
            f"{theirs / 2**20:.0f}",
            f"{ours / theirs:.2f}",
            f"≤ {GOAL_RATIO}×",
            verdict(ours <= GOAL_RATIO * theirs),
        ],
        [
            f"a worker after {ARCHITECTURES} architectures",
            f"{after:.0f}",
            f"{settled:.0f}",
            f"{after / settled:.2f}",
            f"≤ {GOAL_RATIO}×",
            verdict(after <= GOAL_RATIO * settled),
        ],
    ]
    return f"""First row: maximum growth of resident memory during a compute-bound training, including
its checkpoint, compared with a plain PyTorch loop; both processes have trained before. Second row:
resident memory of a worker after it has compiled and trained {ARCHITECTURES} architectures, compared
with that after {SETTLED}.

{table(rows)}
"""


if __name__ == "__main__":
    if "plain" in sys.argv:
        measure_plain()
    else:
        main()
