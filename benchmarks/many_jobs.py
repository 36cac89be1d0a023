"""Listing, reading and claiming with 100,000 jobs in the database, compared with 100 jobs.

python -m benchmarks.many_jobs
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import httpx
from sqlalchemy import insert, select

from benchmarks.jobs import thermometer_job, timed_fit
from benchmarks.results import publish, table, verdict
from benchmarks.wire import Wire, get
from service.demo import LINEAR, running_service
from service.settings import Settings
from service.specs.job import JobStatus
from service.storage.claims import Claim, ClaimStore
from service.storage.database import Database
from service.storage.ids import new_id
from service.storage.tables import history, jobs

FEW, MANY = 100, 100_000
QUEUED_SHARE = 10
QUEUE = "cuda"  # CPU workers do not claim from this queue
ROUNDS, CALLS = 7, 20
GOAL_RATIO = 2.0
LEASE_SECONDS = 30.0


def fill(database: Database, count: int) -> None:
    """Copy the only job and its history until there are `count` jobs, a tenth of them queued."""
    with database.write() as connection:
        job = dict(connection.execute(select(jobs)).one()._mapping)
        row = dict(connection.execute(select(history)).one()._mapping)
        del job["sequence"]
        ended = {"status": job["status"], "device": job["device"]}
        queued = {"status": JobStatus.QUEUED, "device": QUEUE}
        added = [
            {**job, **(ended if index % QUEUED_SHARE else queued), "id": new_id("job")}
            for index in range(1, count)
        ]
        connection.execute(insert(jobs), added)
        connection.execute(insert(history), [{**row, "job_id": each["id"]} for each in added])


class FilledService:
    """A service with many jobs in its database.

    Args:
        port: Port of the service.
        database: Database of the service.
        job_id: Id of a job that has ended.
        queued_id: Id of the last job of the queue.

    Attributes:
        calls: Measured calls by name; each returns its median duration in seconds.
    """

    def __init__(self, port: int, database: Database, job_id: str, queued_id: str) -> None:
        self._wire = Wire(port)
        self._claims = ClaimStore(database)
        paths = {
            "GET /v1/jobs": "/v1/jobs?page_size=50",
            "GET /v1/jobs?status=queued": "/v1/jobs?status=queued&page_size=1",
            "GET /v1/jobs?status=queued, 10 jobs": "/v1/jobs?status=queued&page_size=10",
            "GET /v1/jobs?status=running": "/v1/jobs?status=running&page_size=1",
            "GET /v1/jobs/{id}": f"/v1/jobs/{job_id}",
            "GET /v1/jobs/{id}, the last of the queue": f"/v1/jobs/{queued_id}",
        }
        self.calls: Mapping[str, Callable[[], float]] = {
            **{name: partial(self._request, path) for name, path in paths.items()},
            "claim by a worker": lambda: statistics.median(self._claim() for _ in range(CALLS)),
        }

    def _request(self, path: str) -> float:
        return statistics.median(self._wire.seconds_each([get(path)] * CALLS))

    def _claim(self) -> float:
        started = time.perf_counter()
        job = self._claims.claim("bench", {QUEUE}, LEASE_SECONDS)
        seconds = time.perf_counter() - started
        if job is None:
            raise RuntimeError("No job is queued.")
        self._claims.release(Claim.of(job))
        return seconds


def measure(few: FilledService, many: FilledService) -> dict[str, tuple[float, float]]:
    """Measure both services alternately, and return the medians; the first round is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in few.calls}
    for _ in range(ROUNDS + 1):
        for name, measured in seconds.items():
            measured.append((few.calls[name](), many.calls[name]()))
    return {
        name: (statistics.median(a for a, _ in measured[1:]), statistics.median(b for _, b in measured[1:]))
        for name, measured in seconds.items()
    }


def fill_service(client: httpx.Client, folder: Path, count: int) -> FilledService:
    """Fill the database of a running service."""
    _, job = timed_fit(client, thermometer_job(LINEAR, 1))
    database = Database(Settings(data_dir=folder).database())
    fill(database, count)
    (queued,) = client.get("/v1/jobs", params={"status": "queued", "page_size": 1}).json()["items"]
    return FilledService(client.base_url.port or 0, database, job["id"], queued["id"])


def main() -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as first,
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as second,
        running_service(Path(first)) as few,
        running_service(Path(second)) as many,
    ):
        text = report(measure(fill_service(few, Path(first), FEW), fill_service(many, Path(second), MANY)))
    publish("Many jobs", text, "bench-all")


def report(measured: Mapping[str, tuple[float, float]]) -> str:
    """Return the results as Markdown."""
    rows = [["benchmark", f"{FEW} jobs, ms", f"{MANY:,} jobs, ms", "ratio", "goal", ""]]
    for name, (few, many) in measured.items():
        ratio = many / few
        reached = verdict(ratio <= GOAL_RATIO)
        rows.append(
            [name, f"{1e3 * few:.2f}", f"{1e3 * many:.2f}", f"{ratio:.2f}", f"≤ {GOAL_RATIO:g}×", reached]
        )
    return f"""Two services with SQLite databases of {FEW} and {MANY:,} jobs with their histories; a
tenth of the jobs are queued. Medians of {ROUNDS} alternating rounds of {CALLS} calls over one
connection.

{table(rows)}
"""


if __name__ == "__main__":
    main()
