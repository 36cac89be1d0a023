"""A real service in another process, with real workers, and the requests of a client."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.support.contract import check_exchange
from tests.support.repository import ROOT

T = TypeVar("T")

START_SECONDS = 90.0
STOP_SECONDS = 30.0
END_SECONDS = 60.0
POLL_SECONDS = 0.02
# As it was before a test set up JAX in this process: services set it up for themselves.
ENVIRONMENT = dict(os.environ)
ENDED = ("succeeded", "failed", "cancelled")


def until(
    condition: Callable[[], T | None], seconds: float = END_SECONDS, poll_seconds: float = POLL_SECONDS
) -> T:
    """Poll `condition` until its result is truthy, and return the result.

    Raises:
        AssertionError: The result is still falsy after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"The condition was not met within {seconds:g} s.")
        time.sleep(poll_seconds)
    return result


class Service:
    """`python -m service serve` on a free port.

    Args:
        data_dir: Its data folder, from which a restarted service continues.
        workers: Number of CPU worker processes.
        settings: Further settings by name, for instance `max_queue_length=3`. `spare_workers` is 0 by
            default, since each takes seconds to warm up.

    Attributes:
        database_url: URL of its database.
        client: HTTP client with the URL of the service.
        log: File with the log lines of all its processes.
    """

    def __init__(self, data_dir: Path, workers: int = 2, **settings: object) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".log")
        self._workers = workers
        given = {"spare_workers": 0, **settings}
        self.database_url = str(given.get("database_url", f"sqlite:///{data_dir / 'fitserve.db'}"))
        self._environment = {f"FITSERVE_{name.upper()}": str(value) for name, value in given.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping: list[psutil.Process] = []
        self.client = httpx.Client()

    @property
    def process(self) -> psutil.Process:
        """The main process, which serves HTTP."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def children(self, title: str) -> list[psutil.Process]:
        """Return its running child processes with a title: `worker`, `helper` or `fork server`."""
        found = []
        for child in self.process.children():
            with suppress(psutil.NoSuchProcess):
                if child.cmdline()[:1] == [f"fitserve {title}"]:
                    found.append(child)
        return found

    def start(self) -> "Service":
        """Start, and wait until the service is ready to run jobs; without workers, to accept them."""
        self.launch()
        until(self.is_ready, START_SECONDS)
        return self

    def is_ready(self) -> bool:
        """Return whether the service can run jobs; without workers, whether it accepts them."""
        query = {"workers": "true"} if self._workers else {}
        return self.client.get("/readyz", params=query).status_code == httpx.codes.OK

    def launch(self) -> "Service":
        """Start, and wait until the service answers requests."""
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(self.data_dir)]
        with self.log.open("ab") as log:
            start = log.tell()
            self._process = subprocess.Popen(
                [*command, "--workers", str(self._workers)],
                cwd=ROOT,
                env={**ENVIRONMENT, "FITSERVE_LOG_FORMAT": "json", **self._environment},
                stdout=log,
                stderr=log,
            )
        url = until(lambda: self._listening(start), START_SECONDS)
        self.client.close()
        hooks = {"response": [check_exchange]}
        self.client = httpx.Client(base_url=url, timeout=90.0, event_hooks=hooks)
        self.client.get("/livez").raise_for_status()
        return self

    def _listening(self, start: int) -> str | None:
        """Return the URL that the service has logged after position `start`, if any."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        for line in self.log.read_bytes()[start:].splitlines():
            if b'"listening"' in line:
                return str(json.loads(line)["url"])
        return None

    def stop(self) -> None:
        """Send SIGTERM, and assert that all processes of the service end."""
        if self._process is not None:
            self.terminate()
            self.wait()

    def terminate(self) -> None:
        """Send SIGTERM to all processes, as service managers do, without waiting; `wait` waits."""
        self._stopping = self.process.children(recursive=True)
        for process in [*self._stopping, self.process]:
            with suppress(psutil.NoSuchProcess):
                process.terminate()

    def wait(self) -> None:
        """Wait for the end after `terminate`, and assert that all processes of the service end."""
        assert self._process is not None
        processes = self._stopping
        status = self._process.wait(STOP_SECONDS)
        self._end(processes)
        assert status in (0, -signal.SIGTERM), f"The service ended with {status}: {self.log.read_text()}"

    def stop_at_once(self) -> None:
        """Send SIGTERM, and again while the service waits for its workers; assert that all processes end."""
        assert self._process is not None
        processes = self.process.children(recursive=True)
        self._process.terminate()
        until(self._refuses, STOP_SECONDS)
        assert self._process.poll() is None
        self._process.terminate()
        assert self._process.wait(STOP_SECONDS) == 128 + signal.SIGTERM
        self._end(processes)

    def _refuses(self) -> bool:
        try:
            self.client.get("/livez")
        except httpx.TransportError:
            return True
        return False

    def kill(self) -> None:
        """Send SIGKILL to the main process, and assert that its workers and helpers end by themselves."""
        assert self._process is not None
        processes = self.process.children(recursive=True)
        self._process.kill()
        self._process.wait()
        self._end(processes)

    def _end(self, processes: list[psutil.Process]) -> None:
        """Assert that processes end within `STOP_SECONDS`; kill the ones that do not."""
        self._process = None
        self.client.close()
        try:
            until(lambda: not any(map(_lives, processes)), STOP_SECONDS)
        finally:
            for process in filter(_lives, processes):
                process.kill()

    def submit(self, body: Any, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
        """Submit a job."""
        return self.client.post("/v1/jobs", json=body, headers=headers, params=query)

    def queued(self, body: Any) -> str:
        """Submit a job that must be accepted; return its id."""
        response = self.submit(body)
        assert response.status_code == httpx.codes.ACCEPTED, response.text
        return str(response.json()["id"])

    def fit(self, body: Any) -> dict[str, Any]:
        """Submit a job, wait for its end, and return it."""
        return self.ended(self.queued(body))

    def succeeded(self, body: Any) -> dict[str, Any]:
        """Submit a job that must succeed, wait for its end, and return it."""
        job = self.fit(body)
        assert job["status"] == "succeeded", job["error"]
        return job

    def ended(self, job_id: str, seconds: float = END_SECONDS) -> dict[str, Any]:
        """Wait for the end of a job, and return it."""

        def ended_job() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in ENDED else None

        return until(ended_job, seconds)

    def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        return self.read(f"/v1/jobs/{job_id}")

    def running(self, body: Any) -> str:
        """Submit a job, wait until it has trained an epoch, and return its id."""
        job_id = self.queued(body)
        until(lambda: self.job(job_id)["progress"]["epoch"])
        return job_id

    def saved(self, body: Any) -> str:
        """Submit a job, wait until it has a checkpoint, and return its id."""
        job_id = self.queued(body)
        until(lambda: self.read(f"/v1/jobs/{job_id}/checkpoints")["items"], poll_seconds=0.0)
        return job_id

    def cancelled(self, *job_ids: str) -> list[dict[str, Any]]:
        """Cancel jobs, wait for their end, and return them."""
        for job_id in job_ids:
            self.client.post(f"/v1/jobs/{job_id}/cancel")
        return [self.ended(job_id) for job_id in job_ids]

    def clear(self) -> None:
        """Cancel all jobs that have not ended."""
        for status in ("queued", "paused", "running"):
            for job in self.read("/v1/jobs", status=status, page_size=100)["items"]:
                self.client.post(f"/v1/jobs/{job['id']}/cancel")

    def messages(self, job_id: str) -> list[str]:
        """Read the messages of a job's log."""
        lines = self.read(f"/v1/jobs/{job_id}/logs", page_size=1000)["items"]
        return [line["message"] for line in lines]

    def began_at(self, job_id: str) -> int:
        """Return the epoch from which the last attempt at a job continued, according to its log."""
        claims = [message for message in self.messages(job_id) if message.startswith("Claimed by worker ")]
        found = re.search(r"continuing from epoch (\d+)", claims[-1])
        return int(found[1]) if found else 0

    def history(self, job_id: str, **query: Any) -> dict[str, Any]:
        """Read the history of a job."""
        return self.read(f"/v1/jobs/{job_id}/history", **query)

    def parameters(self, job_id: str, **query: Any) -> dict[str, dict[str, Any]]:
        """Read the parameters of a job by name, with values, gradients and statistics, in order."""
        query = {"include": "values,gradients,statistics", **query}
        answer = self.read(f"/v1/jobs/{job_id}/named_parameters", **query)
        return {parameter["name"]: parameter for parameter in answer["parameters"]}

    def predict(self, job_id: str, body: Any, **query: Any) -> dict[str, Any]:
        """Predict for a JSON body."""
        response = self.client.post(f"/v1/jobs/{job_id}/predictions", json=body, params=query)
        assert response.status_code == httpx.codes.OK, response.text
        return dict(response.json())

    def read(self, path: str, **query: Any) -> dict[str, Any]:
        """GET a JSON object."""
        response = self.client.get(path, params=query)
        assert response.status_code == httpx.codes.OK, response.text
        return dict(response.json())


def contents(service: Service, job: Mapping[str, Any]) -> list[bytes]:
    """Return what a service answers about an ended job, its data and its results."""
    names = ("self", "dataset", "history", "named_parameters", "model")
    return [service.client.get(job["links"][name]).raise_for_status().content for name in names]


class WorkerProcess:
    """`python -m service worker`: a worker without an API, on the data of a service.

    Args:
        data_dir: The data folder of the service.
        name: Part of the name of its log file.
        settings: Settings by name.

    Attributes:
        log: File with its log lines.
    """

    def __init__(self, data_dir: Path, name: str, **settings: object) -> None:
        self.log = data_dir.with_name(f"{data_dir.name}-{name}.log")
        environment = {f"FITSERVE_{setting.upper()}": str(value) for setting, value in settings.items()}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service", "worker", "--data-dir", str(data_dir), "--workers", "1"],
                cwd=ROOT,
                env={**ENVIRONMENT, "FITSERVE_LOG_FORMAT": "json", **environment},
                stdout=log,
                stderr=log,
            )
        until(lambda: '"working"' in self.log.read_text(), START_SECONDS)

    @property
    def processes(self) -> list[psutil.Process]:
        """The process that supervises the worker, followed by its children."""
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def thaw(self) -> None:
        """Send SIGCONT to all its processes."""
        for process in self.processes:
            process.resume()

    def stop(self) -> None:
        """Send SIGTERM unless it has ended, and assert that all its processes end."""
        if self._process.poll() is not None:
            return
        self.thaw()
        processes = self.processes
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        until(lambda: not any(map(_lives, processes)), STOP_SECONDS)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
