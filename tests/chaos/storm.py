"""A storm: many jobs while workers, the service and its database are killed at random times.

Some jobs are paused and resumed, and a few cancelled. Afterwards, each accepted job must have ended exactly
once, with a complete history in order, and with the same bits as a twin that ran undisturbed.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import psutil

from tests.support.fits import LONG, SEQUENTIAL, tensors, thermometer
from tests.support.postgres import Postgres
from tests.support.server import ENDED, Service, until

SETTINGS = {
    "helpers": 1,
    "lease_seconds": 3,
    "heartbeat_seconds": 0.5,
    "scan_seconds": 0.5,
    "checkpoint_seconds": 0.1,
}
WORKERS = 2
FITS = 8  # different bodies, unless there are fewer jobs in a wave; see `body_of`
COMPILED = (3, 7)  # numbers of those with the compiled engine
COMPANIONS = 8  # jobs of each compiled body that are queued to train in a group
REQUEST_SECONDS = 10.0
END_SECONDS = 1800.0
CALM_SECONDS = (0.5, 5.0)  # between two kills; counted from the restart of a killed service or database
PAGE = 100
MAX_WAVES = 5  # of jobs, until one has been continued from a checkpoint
PAUSE_PROBABILITY = 0.8  # the other requests of owners are cancels
WORKER_LOST = "/problems/worker-lost"
# Lines in the log of a job.
ENDING = re.compile("Ended: |[Ss]tatus: (failed|cancelled)")
LOST = re.compile("^Worker lost")
SAVED = re.compile("^Checkpoint saved: (.+),")


@dataclass
class Report:
    """Counts of a storm.

    Attributes:
        jobs: Number of accepted jobs.
        kills: Number of kills of each process.
        requests: Number of each request of owners.
        attempts: Number of attempts at all jobs.
        lost: Number of accepted jobs that do not exist afterwards.
        ended_twice: Number of jobs that changed after their end, or whose log has not exactly one end.
        incomplete: Number of jobs with an incomplete history.
        unequal: Number of succeeded jobs that differ from their twins.
        resumed: Number of attempts that continued from a checkpoint.
        statuses: Number of jobs with each status.
        failures: Number of jobs with each problem.
        unfounded: Number of failed jobs that had not lost two workers without a newer checkpoint in between.
        seconds: Duration.
    """

    database: str
    seed: int
    jobs: int
    kills: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    lost: int = 0
    ended_twice: int = 0
    incomplete: int = 0
    unequal: int = 0
    resumed: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    unfounded: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """True if no guarantee was violated and at least one attempt continued from a checkpoint."""
        violations = self.lost + self.ended_twice + self.incomplete + self.unequal + self.unfounded
        return violations == 0 and self.resumed > 0


def has_lost_two_workers(messages: Sequence[str]) -> bool:
    """Return whether a log ends with two lost workers without a newer checkpoint in between."""
    losses, newest = 0, ""
    for message in messages:
        saved = SAVED.search(message)
        if saved and saved[1] != newest:
            losses, newest = 0, saved[1]
        losses += bool(LOST.search(message))
    return losses > 1


def body_of(fit: int) -> dict[str, Any]:
    """Return the request of a fit of about one second, with state that a checkpoint must contain.

    Batches and dropout draw from the random generator; optimizers, schedulers and `BatchNorm1d` have state.
    """
    if fit in COMPILED:
        return {**thermometer(SEQUENTIAL, epochs=8000, batch_size=4, seed=fit), "engine": "compiled"}
    inputs, targets = [[i / 40] for i in range(40)], [[(i % 7) / 7] for i in range(40)]
    layers = [
        {"type": "Linear", "out_features": 16},
        {"type": "BatchNorm1d"},
        {"type": "Dropout", "p": 0.1 + fit / 20},
        {"type": "Linear", "out_features": 1},
    ]
    variants: list[dict[str, Any]] = [
        {"optimizer": "Adam"},
        {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        {"optimizer": "AdamW", "scheduler": {"type": "StepLR", "step_size": 50}},
    ]
    section = {"epochs": 300 + 40 * fit, "batch_size": 8, "seed": fit, **variants[fit % len(variants)]}
    body = tensors(inputs, targets, layers, **section)
    body["data"]["split"] = {"validation": 0.2}
    return body


class Storm:
    """A storm on one service.

    Args:
        service: The service, not started yet.
        postgres: Its database; None for SQLite.
        jobs: Number of jobs in each wave.
        seed: Seed of the processes and times of kills.
    """

    def __init__(self, service: Service, postgres: Postgres | None, jobs: int, seed: int) -> None:
        self._service = service
        self._fits = range(min(FITS, jobs))
        self._postgres = postgres
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._ids: list[str] = []
        self._cancelled: set[str] = set()
        self._ends: dict[str, tuple[Any, ...]] = {}
        self.report = Report("SQLite" if postgres is None else "Postgres", seed, jobs)

    def run(self) -> Report:
        """Train the twins undisturbed, then the jobs in the storm; compare, and return the report."""
        service, report = self._service, self.report
        service.start()
        expected = self._train_twins()
        start, ids = time.monotonic(), self._ids
        with ThreadPoolExecutor(1) as thread:
            killer = thread.submit(self._kill_until_over)
            try:
                for _ in range(MAX_WAVES):
                    for _ in range(report.jobs):
                        ids.append(self._submit(len(ids)))
                    until(partial(self._all_ended, ids), END_SECONDS, poll_seconds=0.5)
                    report.resumed = service.log.read_text().count('"job resumed"')
                    if report.resumed:
                        break
            finally:
                self._over.set()
        killer.result()  # raises the exception that ended the killer, if any
        report.seconds, report.jobs = time.monotonic() - start, len(ids)
        self._check(ids, expected)
        service.stop()
        return report

    def _train_twins(self) -> list[list[Any]]:
        """Return the results that the jobs of each fit may have.

        A compiled fit has two, since the program for a group rounds differently than the one for a job alone.
        """
        service = self._service
        results = [[self._results(service.succeeded(body_of(fit))["id"])] for fit in self._fits]
        compiled = [fit for fit in COMPILED if fit in self._fits]
        first, *others = [service.running(thermometer(epochs=LONG)) for _ in range(WORKERS)]
        queued = [(fit, service.queued(body_of(fit))) for fit in compiled * COMPANIONS]
        service.cancelled(first)  # the only free worker claims all of them
        for fit, job_id in queued[: len(compiled)]:
            assert service.ended(job_id)["status"] == "succeeded"
            results[fit].append(self._results(job_id))
        service.cancelled(*others, *(job_id for _, job_id in queued))
        assert "jobs train together" in service.log.read_text()
        return results

    def _submit(self, serial: int) -> str:
        """Submit a job, retrying until it is accepted; return its id."""
        headers = {"Idempotency-Key": f"storm-{serial}"}

        def submit() -> str | None:
            response = self._request(
                "POST", "/v1/jobs", json=body_of(serial % len(self._fits)), headers=headers
            )
            accepted = (httpx.codes.OK, httpx.codes.ACCEPTED)
            return str(response.json()["id"]) if response and response.status_code in accepted else None

        return until(submit, END_SECONDS)

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """Send a request; return None if the service is down."""
        try:
            url = self._service.client.base_url.join(path)
            response = httpx.request(method, url, timeout=REQUEST_SECONDS, **arguments)
        except (httpx.HTTPError, RuntimeError):
            return None
        unexpected = response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        assert not unexpected or response.status_code == httpx.codes.SERVICE_UNAVAILABLE, response.text
        return response

    def _all_ended(self, ids: list[str]) -> bool:
        """Return whether all jobs have ended; record each end when first seen, and resume paused jobs."""
        waiting = [job_id for job_id in ids if job_id not in self._ends]
        for job_id in waiting[:PAGE]:
            response = self._request("GET", f"/v1/jobs/{job_id}")
            if response is None or response.status_code != httpx.codes.OK:
                return False
            job = response.json()
            if job["status"] in ENDED:
                self._ends[job_id] = self._end(job, response)
            elif job["status"] == "paused":
                self._request("POST", f"/v1/jobs/{job_id}/resume")
        return len(self._ends) == len(ids)

    @staticmethod
    def _end(job: Mapping[str, Any], response: httpx.Response) -> tuple[Any, ...]:
        return job["status"], job["finished_at"], response.headers["ETag"]

    def _check(self, ids: list[str], expected: list[list[Any]]) -> None:
        """Count the violations of all jobs in the report."""
        report, service = self.report, self._service
        for serial, job_id in enumerate(ids):
            response = service.client.get(f"/v1/jobs/{job_id}")
            if response.status_code != httpx.codes.OK:
                report.lost += 1
                continue
            job = response.json()
            report.statuses[job["status"]] += 1
            report.attempts += job["attempt"]
            unchanged = self._end(job, response) == self._ends[job_id]
            messages = service.messages(job_id)
            report.ended_twice += not unchanged or sum(map(bool, map(ENDING.search, messages))) != 1
            epochs = service.history(job_id)["epochs"]
            succeeded = job["status"] == "succeeded"
            last = job["progress"]["epochs" if succeeded else "epoch"]
            report.incomplete += epochs != list(range(1, last + 1))
            if succeeded:
                report.unequal += self._results(job_id) not in expected[serial % len(self._fits)]
            elif job_id not in self._cancelled or job["error"] is not None:
                problem = job["error"]["type"]
                report.failures[problem] += 1
                report.unfounded += problem != WORKER_LOST or not has_lost_two_workers(messages)

    def _results(self, job_id: str) -> Any:
        return self._service.history(job_id), self._service.parameters(job_id)

    def _kill_until_over(self) -> None:
        victims: dict[str, tuple[float, Callable[[], None]]] = {
            "worker": (0.7, partial(self._kill_child, "worker")),
            "service": (0.2, self._kill_service),
            "fork server": (0.2, partial(self._kill_child, "fork server")),
        }
        if self._postgres is not None:
            victims["database"] = (0.2, self._kill_database)
        weights = [weight for weight, _ in victims.values()]
        while not self._over.wait(self._random.uniform(*CALM_SECONDS)):
            self._pause_or_cancel()
            (name,) = self._random.choices(list(victims), weights)
            victims[name][1]()
            self.report.kills[name] += 1

    def _pause_or_cancel(self) -> None:
        """Request a pause, or rarely a cancel, of a random job that has not ended."""
        open_ids = [job_id for job_id in self._ids if job_id not in self._ends]
        action = "pause" if self._random.random() < PAUSE_PROBABILITY else "cancel"
        if not open_ids:
            return
        job_id = self._random.choice(open_ids)
        if action == "cancel":
            self._cancelled.add(job_id)
        self._request("POST", f"/v1/jobs/{job_id}/{action}")
        self.report.requests[action] += 1

    def _kill_child(self, title: str) -> None:
        children = self._service.children(title)
        if children:
            with suppress(psutil.NoSuchProcess):
                self._random.choice(children).kill()

    def _kill_service(self) -> None:
        self._service.kill()
        self._service.start()

    def _kill_database(self) -> None:
        assert self._postgres is not None
        self._postgres.kill()
        time.sleep(self._random.uniform(0.0, 2.0))
        self._postgres.start()
        until(
            lambda: (response := self._request("GET", "/readyz")) and response.status_code == httpx.codes.OK
        )
