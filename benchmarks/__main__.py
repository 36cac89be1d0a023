"""Fits and requests over HTTP, compared with plain PyTorch, other systems and a minimal FastAPI app.

python -m benchmarks [--h2o]
"""

import itertools
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import httpx
import orjson
import torch

from benchmarks import peers, picture, plain
from benchmarks.comparison import HEADER, ROUNDS, Result, Row, measure, timed
from benchmarks.jobs import (
    digits_job,
    fit,
    regularized_job,
    store_digits,
    store_noisy,
    tanh_units,
    thermometer_job,
    timed_fit,
)
from benchmarks.results import publish, table
from benchmarks.wire import Wire, get, post
from service.demo import LINEAR, SEQUENTIAL, running_service
from service.settings import Settings

H2OFits = Mapping[str, Callable[[int], None]]

REQUESTS = 300
CLIENTS, CONCURRENT_REQUESTS = 32, 2000
MODELS = 100
MANY = 1000
MANY_EPOCHS, POINTS = 100_000, 500
SUBMITTERS = 4
POLL_SECONDS = 0.05
START_SECONDS = 30.0


def main(with_h2o: bool) -> None:
    """Run the benchmarks, print their results, write them to results.md and draw results.svg."""
    torch.set_num_threads(1)  # as in the service's workers
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder)) as client,
        bare_service(Path(folder)) as bare,
        h2o_cluster() if with_h2o else nullcontext({}) as h2o_fits,
    ):
        results = [measure(row) for row in comparisons(client, bare, h2o_fits)]
    picture.draw({result.row.name: result.systems() for result in results if result.peers})
    publish("Fits and requests", report(results), "bench-all" if with_h2o else "bench")


def comparisons(client: httpx.Client, bare_port: int, h2o_fits: H2OFits) -> Iterator[Row]:
    """Yield all comparisons."""
    yield from fits(client, h2o_fits)
    yield overhead(client)
    yield long_history(client)
    yield from requests(client, bare_port)


def h2o_cluster() -> AbstractContextManager[H2OFits]:
    """Start an H2O server; imported here because H2O, which needs Java, is not installed with the others."""
    from benchmarks.h2o_cluster import h2o_cluster  # noqa: PLC0415

    return h2o_cluster()


def fits(client: httpx.Client, h2o_fits: H2OFits) -> Iterator[Row]:
    """Compare fits, from the submission to the response that the job has ended, with a plain PyTorch loop.

    Args:
        client: Client of the service.
        h2o_fits: By data set, a fit of a number of epochs by H2O; empty without H2O.
    """
    digits_id = store_digits(client)
    yield Row(
        "thermometer, Linear(1, 1), 3000 epochs",
        lambda: fit(client, thermometer_job(LINEAR, 3000)),
        lambda: timed(lambda: plain.thermometer(3000, hidden=None)),
        goal=1 / 20,
    )
    yield Row(
        "thermometer, 13 tanh units, 3000 epochs",
        lambda: fit(client, thermometer_job(SEQUENTIAL, 3000)),
        lambda: timed(lambda: plain.thermometer(3000)),
        goal=1 / 20,
        peers={
            "scikit-learn": lambda: timed(lambda: peers.sklearn_thermometer(3000)),
            "skorch": lambda: timed(lambda: peers.skorch_thermometer(3000)),
            "JAX by hand": lambda: timed(lambda: peers.jax_thermometer(3000)),
            **({"H2O-3": lambda: timed(lambda: h2o_fits["thermometer"](3000))} if h2o_fits else {}),
        },
    )
    widths = itertools.count(14)  # a new architecture in each round
    yield Row(
        "the same with a new architecture",
        lambda: fit(client, thermometer_job(tanh_units(next(widths)), 3000)),
        lambda: timed(lambda: plain.thermometer(3000)),
        goal=1.5,
    )
    yield Row(
        f"{MANY} concurrent thermometer fits, each",
        lambda: many_fits(client, MANY) / MANY,
        lambda: timed(lambda: plain.thermometer(3000)),
        goal=1 / 100,
        rounds=2,
    )
    yield Row(
        "digits, 64-128-10, batches of 32, 20 epochs",
        lambda: fit(client, digits_job(digits_id, [128], 20)),
        lambda: timed(lambda: plain.digits(20)),
        goal=1 / 8,
        peers={
            "scikit-learn": lambda: timed(lambda: peers.sklearn_digits(20)),
            "skorch": lambda: timed(lambda: peers.skorch_digits(20)),
            "JAX by hand": lambda: timed(lambda: peers.jax_digits(20)),
            **({"H2O-3": lambda: timed(lambda: h2o_fits["digits"](20))} if h2o_fits else {}),
        },
    )
    noisy_id = store_noisy(client)
    yield Row(
        "MLP with batch norm and dropout, 2000 rows, batches of 64, 40 epochs",
        lambda: fit(client, regularized_job(noisy_id, 40)),
        lambda: timed(lambda: plain.regularized(40)),
        goal=1 / 5,
    )
    yield Row(
        "digits, 64-2048-2048-10, compute-bound, 2 epochs",
        lambda: fit(client, digits_job(digits_id, [2048, 2048], 2)),
        lambda: timed(lambda: plain.digits(2, hidden=2048, layers=2)),
        goal=1.02,
        rounds=3,
    )


def many_fits(client: httpx.Client, count: int) -> float:
    """Return the seconds from the first submission to the end of the last of `count` different fits."""

    def request(index: int) -> bytes:
        body = thermometer_job(SEQUENTIAL, 3000)
        optimizer = {"type": "SGD", "lr": 1e-3 * (0.5 + index / count)}
        body["training"] = {**body["training"], "optimizer": optimizer, "seed": index}
        return post("/v1/jobs", orjson.dumps(body))

    def submit(first: int) -> None:
        Wire(client.base_url.port or 0).seconds_each(map(request, range(first, count, SUBMITTERS)))

    started = time.perf_counter()
    with ThreadPoolExecutor(SUBMITTERS) as pool:
        list(pool.map(submit, range(SUBMITTERS)))
    while any(
        client.get("/v1/jobs", params={"status": status, "page_size": 1}).json()["items"]
        for status in ("queued", "running")
    ):
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - started


def overhead(client: httpx.Client) -> Row:
    """Measure the time that a job takes beside its training, from the submission to its end."""

    def once() -> float:
        seconds, job = timed_fit(client, thermometer_job(SEQUENTIAL, 1))
        return seconds - float(job["timings"]["training_seconds"])

    return Row("overhead of one job", once, limit_seconds=0.030)


def long_history(client: httpx.Client) -> Row:
    """Measure a request for a thinned-out history of many epochs."""
    _, job = timed_fit(client, thermometer_job(LINEAR, MANY_EPOCHS))
    wire = Wire(client.base_url.port or 0)
    request = get(f"/v1/jobs/{job['id']}/history?max_points={POINTS}")
    return Row(
        f"history of {MANY_EPOCHS:,} epochs in {POINTS} points",
        lambda: statistics.median(wire.seconds_each([request] * 20)),
        limit_seconds=0.050,
    )


def requests(client: httpx.Client, bare_port: int) -> Iterator[Row]:
    """Compare single requests of one client with routes of a minimal FastAPI app."""
    _, job = timed_fit(client, thermometer_job(SEQUENTIAL, 1))
    wire, bare = Wire(client.base_url.port or 0), Wire(bare_port)
    row = orjson.dumps({"inputs": [[35.7]]})
    predictions = f"/v1/jobs/{job['id']}/predictions"
    yield Row(
        "status poll",
        lambda: statistics.fmean(wire.seconds_each([get(f"/v1/jobs/{job['id']}")] * REQUESTS)),
        lambda: statistics.fmean(bare.seconds_each([get(f"/rows/{job['id']}")] * REQUESTS)),
        goal=1 / 0.7,
    )
    yield Row(
        "prediction of one row, median",
        lambda: statistics.median(wire.seconds_each([post(predictions, row)] * REQUESTS)),
        lambda: statistics.median(bare.seconds_each([post("/predictions", row)] * REQUESTS)),
        goal=1.2,
    )
    together = [post(predictions, row)] * CONCURRENT_REQUESTS
    bare_together = [post("/predictions", row)] * CONCURRENT_REQUESTS
    yield Row(
        f"prediction of one row, {CLIENTS} clients, each",
        lambda: wire.seconds_together(together, CLIENTS) / CONCURRENT_REQUESTS,
        lambda: bare.seconds_together(bare_together, CLIENTS) / CONCURRENT_REQUESTS,
        goal=1 / 1.2,
    )
    ids = [timed_fit(client, thermometer_job(SEQUENTIAL, 1))[1]["id"] for _ in range(MODELS)]
    in_turn = [post(f"/v1/jobs/{job_id}/predictions", row) for job_id in ids]
    yield Row(
        f"prediction of one row, {MODELS} models in turn, compared with one",
        lambda: statistics.median(wire.seconds_each(in_turn * 3)),
        lambda: statistics.median(wire.seconds_each([post(predictions, row)] * REQUESTS)),
        goal=2.0,
    )


@contextmanager
def bare_service(data_dir: Path) -> Iterator[int]:
    """Run a minimal FastAPI app on the same database, and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = Settings(data_dir=data_dir).database()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare", url, str(port)])
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def report(results: list[Result]) -> str:
    """Return the results as Markdown."""
    lines = [HEADER, *(result.cells() for result in results)]
    return f"""Medians of {ROUNDS} rounds, or fewer for long benchmarks. Fitserve and the baseline
run alternately with one thread each. The baseline of a fit is a plain PyTorch loop; Fitserve's time
is that from the submission over HTTP to the response that the job has ended, with warm workers. The
baseline of a request is a minimal FastAPI app: a route that selects one row of the same database, or
one that calls the same module. Absolute times vary with the load of the machine; compare the ratios.

{table(lines)}

The same fits in other systems, in milliseconds: the multilayer perceptron of
[scikit-learn](https://scikit-learn.org), [skorch](https://github.com/skorch-dev/skorch), a loop
written by hand in JAX and compiled in advance, which is a lower bound, and with `make bench-all`
[H2O-3](https://github.com/h2oai/h2o-3) over its REST API, whose network takes one step per row.

![Duration of the same fits in several systems](results.svg)

{table(_peers_table(results))}
"""


def _peers_table(results: list[Result]) -> list[list[str]]:
    compared = [result for result in results if result.peers]
    lines = [["benchmark", *compared[0].systems()]]
    for result in compared:
        lines.append([result.row.name, *(f"{1e3 * seconds:.1f}" for seconds in result.systems().values())])
    return lines


if __name__ == "__main__":
    main(with_h2o="--h2o" in sys.argv)
