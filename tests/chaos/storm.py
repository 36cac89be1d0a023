"""A storm: many jobs while workers, the service and its database are killed at random moments.

Some jobs are paused meanwhile, and resumed, and a few cancelled. What must be true afterwards: each job that
was accepted has ended, once; its history is complete and in order; and its numbers are those of a twin that
was left in peace, bit for bit.
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
KINDS = 8
COMPILED = (6, 7)
# So many jobs of each compiled kind are queued to train side by side.
COMPANIONS = 8
REQUEST_SECONDS = 10.0
END_SECONDS = 1800.0
# Between two kills; after a kill of the service or the database, from when it is back.
CALM_SECONDS = (0.5, 5.0)
PAGE = 100
# Of jobs: a few may all be spared by a short storm.
MOST_WAVES = 5
# Of its owner's wishes.
PAUSED = 0.8
WORKER_LOST = "/problems/worker-lost"
# What a job's log says of its end, of a worker that was lost and of a checkpoint.
ENDING, LOST, SAVED = map(
    re.compile, ("Ended: |[Ss]tatus: (failed|cancelled)", "^Worker lost", "^Checkpoint saved: (.+),")
)


@dataclass
class Report:
    """What came of a storm."""

    database: str
    seed: int
    jobs: int
    kills: Counter[str] = field(default_factory=Counter)
    wishes: Counter[str] = field(default_factory=Counter)
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
        """Whether every promise was kept, and there was something to keep.

        A job may have failed that has lost two workers running, without a checkpoint in between.
        """
        broken = self.lost + self.ended_twice + self.incomplete + self.unequal + self.unfounded
        return broken == 0 and self.resumed > 0


def has_lost_two_running(messages: Sequence[str]) -> bool:
    """Whether a job's log ends with two workers that were lost, and no newer checkpoint in between."""
    losses, newest = 0, ""
    for message in messages:
        saved = SAVED.search(message)
        if saved and saved[1] != newest:
            losses, newest = 0, saved[1]
        losses += bool(LOST.search(message))
    return losses > 1


def body_of(kind: int) -> dict[str, Any]:
    """One of some fits of about a second: batches, dropout, and what else must be remembered."""
    if kind in COMPILED:
        return {**thermometer(SEQUENTIAL, epochs=8000, batch_size=4, seed=kind), "engine": "compiled"}
    inputs, targets = [[i / 40] for i in range(40)], [[(i % 7) / 7] for i in range(40)]
    layers = [
        {"type": "Linear", "out_features": 16},
        {"type": "BatchNorm1d"},
        {"type": "Dropout", "p": 0.1 + kind / 20},
        {"type": "Linear", "out_features": 1},
    ]
    parts: list[dict[str, Any]] = [
        {"optimizer": "Adam"},
        {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
        {"optimizer": "AdamW", "scheduler": {"type": "StepLR", "step_size": 50}},
    ]
    section = {"epochs": 300 + 40 * kind, "batch_size": 8, "seed": kind, **parts[kind % len(parts)]}
    body = tensors(inputs, targets, layers, **section)
    body["data"]["split"] = {"validation": 0.2}
    return body


class Storm:
    """One run against one service.

    Args:
        service: not started yet.
        postgres: its database; None: SQLite.
        seed: decides who is killed, and when.
    """

    def __init__(self, service: Service, postgres: Postgres | None, jobs: int, seed: int) -> None:
        self._service = service
        self._postgres = postgres
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._ids: list[str] = []
        self._cancelled: set[str] = set()
        self._ends: dict[str, tuple[Any, ...]] = {}
        self.report = Report("SQLite" if postgres is None else "Postgres", seed, jobs)

    def run(self) -> Report:
        """Train the twins in peace, then the jobs in the storm; then look."""
        service, report = self._service, self.report
        service.start()
        expected = self._in_peace()
        begin, ids = time.monotonic(), self._ids
        with ThreadPoolExecutor(1) as thread:
            killer = thread.submit(self._kill_until_over)
            try:
                for _ in range(MOST_WAVES):
                    for _ in range(report.jobs):
                        ids.append(self._submitted(len(ids)))
                    until(partial(self._all_ended, ids), END_SECONDS, poll_seconds=0.5)
                    report.resumed = service.log.read_text().count('"job resumed"')
                    if report.resumed:
                        break
            finally:
                self._over.set()
        killer.result()  # what has ended it before its time ends the storm, too
        report.seconds, report.jobs = time.monotonic() - begin, len(ids)
        self._look(ids, expected)
        service.stop()
        return report

    def _in_peace(self) -> list[list[Any]]:
        """By kind, the numbers that its jobs may have: side by side with others, programs round otherwise."""
        service = self._service
        numbers = [[self._numbers(service.succeeded(body_of(kind))["id"])] for kind in range(KINDS)]
        first, *others = [service.running(thermometer(epochs=LONG)) for _ in range(WORKERS)]
        queued = [(kind, service.queued(body_of(kind))) for kind in COMPILED * COMPANIONS]
        service.cancelled(first)  # so that one worker has all of them
        for kind, job_id in queued[: len(COMPILED)]:
            assert service.ended(job_id)["status"] == "succeeded"
            numbers[kind].append(self._numbers(job_id))
        service.cancelled(*others, *(job_id for _, job_id in queued))
        assert "jobs train together" in service.log.read_text()
        return numbers

    def _submitted(self, serial: int) -> str:
        """The id of a job that was accepted, after as many tries as it takes."""
        headers = {"Idempotency-Key": f"storm-{serial}"}

        def submit() -> str | None:
            response = self._ask("POST", "/v1/jobs", json=body_of(serial % KINDS), headers=headers)
            accepted = (httpx.codes.OK, httpx.codes.ACCEPTED)
            return str(response.json()["id"]) if response and response.status_code in accepted else None

        return until(submit, END_SECONDS)

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """An answer; None while the service is away."""
        try:
            url = self._service.client.base_url.join(path)
            response = httpx.request(method, url, timeout=REQUEST_SECONDS, **arguments)
        except (httpx.HTTPError, RuntimeError):
            return None
        unexpected = response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        assert not unexpected or response.status_code == httpx.codes.SERVICE_UNAVAILABLE, response.text
        return response

    def _all_ended(self, ids: list[str]) -> bool:
        """Whether all have ended; notes how each did, the first time that is seen. What rests is resumed."""
        waiting = [job_id for job_id in ids if job_id not in self._ends]
        for job_id in waiting[:PAGE]:
            response = self._ask("GET", f"/v1/jobs/{job_id}")
            if response is None or response.status_code != httpx.codes.OK:
                return False
            job = response.json()
            if job["status"] in ENDED:
                self._ends[job_id] = self._end(job, response)
            elif job["status"] == "paused":
                self._ask("POST", f"/v1/jobs/{job_id}/resume")
        return len(self._ends) == len(ids)

    @staticmethod
    def _end(job: Mapping[str, Any], response: httpx.Response) -> tuple[Any, ...]:
        return job["status"], job["finished_at"], response.headers["ETag"]

    def _look(self, ids: list[str], expected: list[list[Any]]) -> None:
        """Compare what there is with what must be."""
        report, service = self.report, self._service
        for serial, job_id in enumerate(ids):
            response = service.client.get(f"/v1/jobs/{job_id}")
            if response.status_code != httpx.codes.OK:
                report.lost += 1
                continue
            job = response.json()
            report.statuses[job["status"]] += 1
            report.attempts += job["attempt"]
            stays = self._end(job, response) == self._ends[job_id]
            messages = service.messages(job_id)
            report.ended_twice += not stays or sum(map(bool, map(ENDING.search, messages))) != 1
            epochs = service.history(job_id)["epochs"]
            succeeded = job["status"] == "succeeded"
            last = job["progress"]["epochs" if succeeded else "epoch"]
            report.incomplete += epochs != list(range(1, last + 1))
            if succeeded:
                report.unequal += self._numbers(job_id) not in expected[serial % KINDS]
            elif job_id not in self._cancelled or job["error"] is not None:
                problem = job["error"]["type"]
                report.failures[problem] += 1
                report.unfounded += problem != WORKER_LOST or not has_lost_two_running(messages)

    def _numbers(self, job_id: str) -> Any:
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
            self._wish()
            (name,) = self._random.choices(list(victims), weights)
            victims[name][1]()
            self.report.kills[name] += 1

    def _wish(self) -> None:
        """Pause a job, or now and then cancel one, as its owner may at any moment."""
        open_ids = [job_id for job_id in self._ids if job_id not in self._ends]
        wish = "pause" if self._random.random() < PAUSED else "cancel"
        if not open_ids:
            return
        job_id = self._random.choice(open_ids)
        if wish == "cancel":
            self._cancelled.add(job_id)
        self._ask("POST", f"/v1/jobs/{job_id}/{wish}")
        self.report.wishes[wish] += 1

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
        until(lambda: (response := self._ask("GET", "/readyz")) and response.status_code == httpx.codes.OK)
