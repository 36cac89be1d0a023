"""Fits and requests through HTTP, beside plain PyTorch, its peers and a bare route.

python -m benchmarks [--h2o]
"""

import itertools
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import orjson
import torch

from benchmarks import peers, picture, plain
from benchmarks.comparison import HEADER, ROUNDS, Result, Row, measure, timed
from benchmarks.jobs import digits_job, fit, store_digits, tanh_units, thermometer_job, timed_fit
from benchmarks.results import publish, table
from benchmarks.wire import Wire, get, post
from service.demo import LINEAR, SEQUENTIAL, running_service
from service.settings import Settings

if TYPE_CHECKING:
    from benchmarks.h2o_cluster import Cluster

REQUESTS = 300
MANY = 1000
MANY_EPOCHS, POINTS = 100_000, 500
SUBMITTERS = 4
POLL_SECONDS = 0.05
START_SECONDS = 30.0


def main(with_h2o: bool) -> None:
    """Measure, print, write, draw."""
    torch.set_num_threads(1)  # as the service's workers
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder)) as client,
        bare_service(Path(folder)) as bare,
        h2o_cluster() if with_h2o else nullcontext() as cluster,
    ):
        rows = [*fits(client, cluster), overhead(client), long_history(client), *requests(client, bare)]
        results = [measure(row) for row in rows]
    picture.draw({result.row.name: result.systems() for result in results if result.peers})
    publish("Fits and requests", report(results), "bench-all" if with_h2o else "bench")


def h2o_cluster() -> AbstractContextManager["Cluster"]:
    """The only peer that isn't installed with the others: it brings a server, which needs Java."""
    from benchmarks.h2o_cluster import h2o_cluster  # noqa: PLC0415

    return h2o_cluster()


def fits(client: httpx.Client, cluster: "Cluster | None") -> Iterator[Row]:
    """Fits through HTTP, from submit to the answer that the job has ended, beside a plain PyTorch loop."""
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
            **({"H2O-3": lambda: timed(lambda: cluster.thermometer(3000))} if cluster else {}),
        },
    )
    widths = itertools.count(14)  # each round's architecture is met for the first time
    yield Row(
        "the same, the first time ever",
        lambda: fit(client, thermometer_job(tanh_units(next(widths)), 3000)),
        lambda: timed(lambda: plain.thermometer(3000)),
        goal=1.5,
    )
    yield Row(
        f"{MANY} thermometer fits at once, each",
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
            **({"H2O-3": lambda: timed(lambda: cluster.digits(20))} if cluster else {}),
        },
    )
    yield Row(
        "digits, 64-2048-2048-10, bound by arithmetic, 2 epochs",
        lambda: fit(client, digits_job(digits_id, [2048, 2048], 2)),
        lambda: timed(lambda: plain.digits(2, hidden=2048, layers=2)),
        goal=1.02,
        rounds=3,
    )


def many_fits(client: httpx.Client, count: int) -> float:
    """Seconds from the first submit to the end of the last of many fits with rates and seeds of their own."""

    def request(place: int) -> bytes:
        body = thermometer_job(SEQUENTIAL, 3000)
        optimizer = {"type": "SGD", "lr": 1e-3 * (0.5 + place / count)}
        body["training"] = {**body["training"], "optimizer": optimizer, "seed": place}
        return post("/v1/jobs", orjson.dumps(body))

    def submit(first: int) -> None:
        wire = Wire(client.base_url.port or 0)
        for place in range(first, count, SUBMITTERS):
            wire.send(request(place))

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
    """What the service adds to a job: submit to ended, less the training of its one epoch."""

    def once() -> float:
        seconds, job = timed_fit(client, thermometer_job(SEQUENTIAL, 1))
        return seconds - float(job["timings"]["training_seconds"])

    return Row("overhead of one job", once, limit_seconds=0.030)


def long_history(client: httpx.Client) -> Row:
    """The history of many epochs, in few points."""
    _, job = timed_fit(client, thermometer_job(LINEAR, MANY_EPOCHS))
    wire = Wire(client.base_url.port or 0)
    request = get(f"/v1/jobs/{job['id']}/history?max_points={POINTS}")
    return Row(
        f"history of {MANY_EPOCHS:,} epochs in {POINTS} points",
        lambda: statistics.median(wire.seconds_each(request, 20)),
        limit_seconds=0.050,
    )


def requests(client: httpx.Client, bare_port: int) -> Iterator[Row]:
    """Single requests beside a bare FastAPI route, one client."""
    _, job = timed_fit(client, thermometer_job(SEQUENTIAL, 1))
    wire, bare = Wire(client.base_url.port or 0), Wire(bare_port)
    row = orjson.dumps({"inputs": [[35.7]]})
    predictions = f"/v1/jobs/{job['id']}/predictions"
    yield Row(
        "status poll",
        lambda: statistics.fmean(wire.seconds_each(get(f"/v1/jobs/{job['id']}"), REQUESTS)),
        lambda: statistics.fmean(bare.seconds_each(get(f"/rows/{job['id']}"), REQUESTS)),
        goal=1 / 0.7,
    )
    yield Row(
        "prediction of one row, median",
        lambda: statistics.median(wire.seconds_each(post(predictions, row), REQUESTS)),
        lambda: statistics.median(bare.seconds_each(post("/predictions", row), REQUESTS)),
        goal=1.5,
    )


@contextmanager
def bare_service(data_dir: Path) -> Iterator[int]:
    """The port of a bare FastAPI service on the same database."""
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
    """The results as Markdown."""
    lines = [HEADER, *(result.cells() for result in results)]
    return f"""Medians of {ROUNDS} rounds, fewer where one takes long; Fitserve and what stands
beside it in turn in one run, one thread each. Fits are beside a plain PyTorch loop and go through
HTTP, from submit to the answer that the job has ended, with warm workers; requests are beside a
bare FastAPI route (one that selects one row of the same database, one that calls the same module).
Compare within one run: absolute times vary with the machine's load.

{table(lines)}

The same fits elsewhere, in milliseconds: [scikit-learn](https://scikit-learn.org)'s multilayer
perceptron, [skorch](https://github.com/skorch-dev/skorch), the whole loop written by hand in JAX
and compiled before, which is the limit, and with `make bench-all`
[H2O-3](https://github.com/h2oai/h2o-3) over its REST API, whose network takes a step for each row.

![The same fits in several systems](results.svg)

{table(_peers_table(results))}
"""


def _peers_table(results: list[Result]) -> list[list[str]]:
    compared = [result for result in results if result.peers]
    lines = [["what", *compared[0].systems()]]
    for result in compared:
        lines.append([result.row.name, *(f"{1e3 * seconds:.1f}" for seconds in result.systems().values())])
    return lines


if __name__ == "__main__":
    main(with_h2o="--h2o" in sys.argv)
