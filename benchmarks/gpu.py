"""Fits on a GPU over HTTP, compared with the same loops in plain PyTorch on the same GPU.

python -m benchmarks.gpu
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks import plain
from benchmarks.comparison import HEADER, Row, measure, timed
from benchmarks.jobs import digits_job, fit, store_digits, thermometer_job, timed_fit
from benchmarks.results import publish, table
from service.demo import SEQUENTIAL, running_service

CUDA = "cuda"
ROUNDS = 3
MANY = 64
WIDE, WIDE_EPOCHS, WIDE_BATCH = 4096, 100, 719  # a batch is half of the training rows


def main() -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    if not torch.cuda.is_available():
        raise SystemExit("No GPU found.")
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder), workers=1) as client,
    ):
        results = [measure(row) for row in rows(client)]
    text = f"""One {torch.cuda.get_device_name()}. Medians of {ROUNDS} rounds. Fitserve and a plain PyTorch
loop run alternately on the same GPU. Fitserve's time is that from the submission over HTTP to the
response that the job has ended; for the two wide networks it is the training time, because saving
models of this size takes longer than training them.

{table([HEADER, *(result.cells() for result in results)])}
"""
    publish("On a GPU", text, "bench-gpu")


def rows(client: httpx.Client) -> Iterator[Row]:
    """Yield fits limited by kernel launches, with each engine, and compute-bound fits."""
    digits_id = store_digits(client)
    thermometer, digits = thermometer_job(SEQUENTIAL, 3000), digits_job(digits_id, [128], 20)
    for engine in ("eager", "compiled"):
        yield small(
            client,
            f"thermometer, 13 tanh units, 3000 epochs, {engine}",
            on_gpu(thermometer, engine=engine),
            lambda: plain.thermometer(3000, device=CUDA),
        )
        yield small(
            client,
            f"digits, 64-128-10, batches of 32, 20 epochs, {engine}",
            on_gpu(digits, engine=engine),
            lambda: plain.digits(20, device=CUDA),
        )
    yield Row(
        f"{MANY} concurrent thermometer fits, each",
        lambda: many_fits(client, on_gpu(thermometer, engine="compiled")) / MANY,
        lambda: timed(lambda: plain.thermometer(3000, device=CUDA)),
        goal=1 / 20,
        rounds=ROUNDS,
    )
    for precision in ("float32", "bfloat16"):
        yield wide(client, digits_id, precision)


def small(client: httpx.Client, name: str, job: dict[str, Any], loop: Callable[[], object]) -> Row:
    """Compare a fit that is limited by kernel launches."""
    return Row(name, lambda: fit(client, job), lambda: timed(loop), goal=1, rounds=ROUNDS)


def wide(client: httpx.Client, digits_id: str, precision: str) -> Row:
    """Compare a compute-bound fit."""
    job = on_gpu(digits_job(digits_id, [WIDE] * 3, WIDE_EPOCHS, WIDE_BATCH), precision=precision)

    def loop(epochs: int) -> float:
        return plain.digits(epochs, WIDE, WIDE_BATCH, 3, CUDA, half=precision == "bfloat16")

    return Row(
        f"digits, 64-{WIDE}-{WIDE}-{WIDE}-10, {precision}, {WIDE_EPOCHS} epochs",
        lambda: training_seconds(client, job),
        lambda: timed(lambda: loop(WIDE_EPOCHS)) - timed(lambda: loop(0)),
        goal=1.02,
        rounds=ROUNDS,
    )


def on_gpu(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a request with the device `cuda` and other changes."""
    return {**body, "device": CUDA, **changes}


def training_seconds(client: httpx.Client, body: dict[str, Any]) -> float:
    """Run a job and return its training time in seconds."""
    return float(timed_fit(client, body)[1]["timings"]["training_seconds"])


def many_fits(client: httpx.Client, body: dict[str, Any]) -> float:
    """Return the seconds from the first submission to the end of the last of `MANY` fits."""

    def one(seed: int) -> float:
        return fit(client, {**body, "training": {**body["training"], "seed": seed}})

    with ThreadPoolExecutor(MANY) as pool:
        return timed(lambda: list(pool.map(one, range(MANY))))


if __name__ == "__main__":
    main()
