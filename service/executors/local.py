"""Worker processes on this machine: kept warm, woken when there is work, replaced when they die."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait

import structlog

from service.errors import Unavailable
from service.executors.child import Child
from service.executors.gpus import visible_gpus
from service.settings import Settings
from service.storage.claims import ClaimStore
from service.storage.jobs import JobStore
from service.storage.workers import WorkerStore

log = structlog.get_logger()

MODULE = "service.jobs.worker"
# A worker that dies before it was ever ready is replaced after this time, or a broken one would spin.
RESTART_SECONDS = 5.0


@dataclass(eq=False)
class Worker:
    """One worker process.

    Attributes:
        name: its id in the database; a replacement gets a new one.
        device: `cpu` or `cuda:N`.
        idle: whether it waits to be woken; False until it has said that it is ready.
    """

    name: str
    device: str
    child: Child
    idle: bool = False
    was_ready: bool = False


def _takes(worker: Worker, device: str) -> bool:
    """Whether a worker takes jobs for `device`: its own, or `cuda` for any GPU."""
    return worker.device == device or worker.device.startswith(f"{device}:")


class LocalExecutor:
    """Starts `settings.workers` CPU workers and one for each GPU, and keeps them running.

    One thread listens to all workers and, each `sweep_seconds`, looks for what hints have missed: expired
    claims, and queued jobs while a worker is idle.

    Args:
        on_change: called with a job's id when one of these workers has changed it.
        on_sweep: called at each sweep.
    """

    def __init__(
        self,
        settings: Settings,
        instance: str,
        jobs: JobStore,
        claims: ClaimStore,
        workers: WorkerStore,
        on_change: Callable[[str], None] = lambda job_id: None,
        on_sweep: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._jobs, self._claims, self._records = jobs, claims, workers
        self._on_change, self._on_sweep = on_change, on_sweep
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._serial = itertools.count()
        self._unheard: set[str] = set()
        gpus = visible_gpus() if settings.gpu_workers else []
        devices = ["cpu"] * settings.workers + [f"cuda:{index}" for index in range(len(gpus))]
        self._gpu_names = gpus
        self._workers = [self._start(device) for device in devices]
        self._to_start: list[tuple[float, str]] = []  # when, and for which device
        self._thread = threading.Thread(target=self._listen, name="executor", daemon=True)
        self._thread.start()

    def _start(self, device: str) -> Worker:
        name = f"{self._instance}-{device.replace(':', '')}-{next(self._serial)}"
        environment = {}
        if device.startswith("cuda:"):
            environment["CUDA_VISIBLE_DEVICES"] = self._gpu_names[int(device.removeprefix("cuda:"))]
        options = {"name": name, "device": device}
        return Worker(name, device, Child(MODULE, self._settings, options, environment))

    def wake(self, device: str) -> None:
        """Wake one idle worker that may take a job for `device`.

        When none is idle, the next one that says so is sent to look again: it may have looked for work
        just before the job was queued.
        """
        with self._lock:
            for worker in self._workers:
                if worker.idle and _takes(worker, device):
                    self._put_to_work(worker)
                    return
            self._unheard.add(device)

    def _put_to_work(self, worker: Worker) -> None:
        worker.idle = False
        self._send(worker, "work")

    def _send(self, worker: Worker, order: str) -> None:
        try:
            worker.child.channel.send({"order": order})
        except OSError:
            log.debug(
                "worker is gone", worker=worker.name
            )  # the listener is about to find the end of its pipe

    def _listen(self) -> None:
        next_sweep = time.monotonic()
        while not self._closing.is_set():
            by_connection = {worker.child.channel.connection: worker for worker in self._workers}
            for connection in wait(list(by_connection), max(0.0, next_sweep - time.monotonic())):
                self._hear(by_connection[connection])  # type: ignore[index]
            self._start_due()
            if time.monotonic() >= next_sweep:
                self._sweep()
                next_sweep = time.monotonic() + self._settings.sweep_seconds

    def _hear(self, worker: Worker) -> None:
        try:
            message, _ = worker.child.channel.receive()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if message["event"] == "idle":
            with self._lock:
                worker.idle = worker.was_ready = True
                unheard = {device for device in self._unheard if _takes(worker, device)}
                if unheard:
                    self._unheard -= unheard
                    self._put_to_work(worker)
        elif message["event"] == "changed":
            self._on_change(message["job_id"])

    def _replace(self, dead: Worker) -> None:
        """Have another started in a dead worker's place, and give back what it held."""
        log.warning("worker died", worker=dead.name, device=dead.device)
        dead.child.kill()
        with self._lock:
            self._workers.remove(dead)
        self._to_start.append((time.monotonic() + (0.0 if dead.was_ready else RESTART_SECONDS), dead.device))
        try:
            for job_id in self._claims.release_worker(dead.name):
                self._on_change(job_id)
            self._records.unregister(dead.name)
        except Unavailable:
            log.exception("claims of a dead worker not given back")  # the lease will do it

    def _start_due(self) -> None:
        """Start the workers that are to be started by now."""
        due = [device for when, device in self._to_start if when <= time.monotonic()]
        self._to_start = [(when, device) for when, device in self._to_start if when > time.monotonic()]
        started = [self._start(device) for device in due]
        with self._lock:
            self._workers += started

    def _sweep(self) -> None:
        try:
            for job_id in self._claims.expire():
                log.warning("claim expired", job_id=job_id)
                self._on_change(job_id)
            for device in self._jobs.claimable():
                self.wake(device)
        except Unavailable:
            log.exception("sweep failed")  # the database is away: the next sweep tries again
        self._on_sweep()

    def close(self) -> None:
        """Ask the workers to give their jobs back, wait for the grace time, end what is left."""
        self._closing.set()
        self._thread.join()
        with self._lock:
            workers, self._workers = self._workers, []
        for worker in workers:
            self._send(worker, "stop")
        deadline = time.monotonic() + self._settings.shutdown_grace_seconds
        for worker in workers:
            worker.child.join(max(0.0, deadline - time.monotonic()))
            self._claims.release_worker(worker.name)
            self._records.unregister(worker.name)
