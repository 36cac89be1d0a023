"""What memory a training takes beside a plain loop, and what a thousand architectures leave behind.

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


def watched(process: psutil.Process, call: Callable[[], T]) -> tuple[T, int]:
    """What a call gives, and by how many bytes a process grew above what it had before, at most."""
    before, most, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return result, max(0, most[0] - before)


def workers() -> list[psutil.Process]:
    """The service's worker processes; a spare is one of them."""
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if each.cmdline()[:1] == ["fitserve worker"]
    ]


def plain_bytes() -> int:
    """What the plain loop takes, in a process of its own that has trained a step before."""
    command = [sys.executable, "-m", "benchmarks.memory", "plain"]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def measure_plain() -> None:
    """Print what the plain loop takes."""
    torch.set_num_threads(1)
    plain.digits(1, hidden=1)
    print(watched(psutil.Process(), lambda: plain.digits(EPOCHS, hidden=HIDDEN, layers=LAYERS))[1])


def fit_bytes(client: httpx.Client) -> int:
    """What the same training takes of a worker that has trained before."""
    digits_id = store_digits(client)
    fit(client, digits_job(digits_id, [1], 1))
    process, *_ = workers()
    return watched(process, lambda: fit(client, digits_job(digits_id, [HIDDEN] * LAYERS, EPOCHS)))[1]


def after_architectures(client: httpx.Client) -> tuple[float, float]:
    """MiB of the worker after some architectures and after all, each of them compiled."""
    process, settled = workers()[0], 0.0
    for number, widths in enumerate(itertools.islice(itertools.product(WIDTHS, WIDTHS), ARCHITECTURES), 1):
        fit(client, {**thermometer_job(tanh_units(*widths), 10), "engine": "compiled"})
        if number == SETTLED:
            settled = process.memory_info().rss / 2**20
    return settled, process.memory_info().rss / 2**20


def main() -> None:
    """Measure, print, write."""
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder), workers=1, spare_workers=0) as client,
    ):
        ours, theirs = fit_bytes(client), plain_bytes()
        settled, after = after_architectures(client)
    publish("Memory", report(ours, theirs, settled, after), "bench-all")


def report(ours: int, theirs: int, settled: float, after: float) -> str:
    """The results as Markdown."""
    rows = [
        ["what", "Fitserve, MiB", "beside it, MiB", "ratio", "goal", ""],
        [
            f"digits, 64-{HIDDEN}-{HIDDEN}-10, batches of 32, above idle, at most",
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
    return f"""A training bound by arithmetic, in a worker that has trained before, beside the
plain PyTorch loop in a process that has: how much resident memory grew while it lasted, checkpoint
included. And a worker's resident memory after it has compiled and trained {ARCHITECTURES} different
architectures, beside what it was after the first {SETTLED}.

{table(rows)}
"""


if __name__ == "__main__":
    if "plain" in sys.argv:
        measure_plain()
    else:
        main()
