"""Supervision of worker processes on this machine: start, wake, kill and replace them."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from multiprocessing import Pipe
from multiprocessing.connection import wait

import structlog

from service.errors import Unavailable
from service.executors.local.gang import Gang
from service.executors.local.gpus import usable_gpus
from service.executors.local.supervised_worker import KillReason, SupervisedWorker
from service.executors.local.worker_process import LocalWorkerProcess
from service.processes.starter import Starter
from service.settings import Settings
from service.storage.database import Database
from service.storage.queue import QueueStore
from service.storage.recovery import RecoveryStore
from service.storage.workers import WorkerStore
from service.worker.messages import RanksNeeded

log = structlog.get_logger()

# Delay before a process that died while starting is replaced, so that a broken installation doesn't spin.
RESTART_SECONDS = 5.0
# Delay before supervision continues after an unexpected error.
FAILURE_SECONDS = 1.0
# Number of heartbeats within which a live worker renews its leases once the database is available.
HEARTBEATS_TO_RENEW = 2

LocalWorker = SupervisedWorker[LocalWorkerProcess]


class LocalExecutor:
    """Supervise `settings.workers` CPU workers, and one worker for each GPU.

    A worker that dies, hangs or stops responding is replaced at once: by a spare process, which has already
    imported PyTorch, or by a new one if no spares are kept. One thread receives the signals of all workers.
    Every `scan_seconds` it also scans the database for what hints have missed: expired leases, cancel
    requests that other processes received, and queued jobs while a worker is idle.

    A lease expires only if its holder had the chance to renew it. So none is reclaimed

    - for `HEARTBEATS_TO_RENEW` heartbeats after the start, because the database may have just started too;
    - for `lease_seconds` after a scan failed, because workers could not reach the database either;
    - for `lease_seconds` after a scan was late, because this process was suspended, and its workers probably
      with it. For the same reason all deadlines of workers restart then.

    Args:
        settings: Number of workers, intervals and time limits.
        instance: Prefix of the names of workers, unique to this process.
        database: A database with a short lock timeout: a frozen worker may hold the SQLite lock until this
            executor kills it. Closed with the executor.
        starter: Starts the processes. Not closed with the executor.
        on_change: Called with the id of a job after a worker of this executor has changed it.
        on_scan: Called after each successful scan.
    """

    def __init__(
        self,
        settings: Settings,
        instance: str,
        database: Database,
        starter: Starter,
        on_change: Callable[[str], None] = lambda job_id: None,
        on_scan: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._database = database
        self._starter = starter
        self._queue = QueueStore(database)
        self._recovery = RecoveryStore(database)
        self._records = WorkerStore(database)
        self._on_change = on_change
        self._on_scan = on_scan
        # `wake`, `cancel` and `close` run in other threads than supervision. The lock guards `_workers`, the
        # idle and held states of each worker, and `_pending_wakes`. Only the supervision thread changes the
        # list `_workers`, so it reads the list without the lock; it alone uses spares and vacant devices.
        self._lock = threading.Lock()
        self._closing = threading.Event()
        # A message in this pipe interrupts the supervision thread while it waits for signals.
        self._interrupts, self._interrupt = Pipe(duplex=False)
        self._is_interrupted = False  # limits the pipe to one message: a full pipe would block requests
        self._serial_numbers = itertools.count()
        self._pending_wakes: set[str] = set()  # devices of `wake` calls that found no idle worker
        gpus = usable_gpus(version("torch")) if settings.gpu_workers else 0
        devices = ["cpu"] * settings.workers + [f"cuda:{index}" for index in range(gpus)]
        self._workers = [self._join(self._start_process(), device) for device in devices]
        self._spares: list[LocalWorker] = []
        self._vacant_devices: list[str] = []  # devices whose worker is gone and not replaced yet
        self._gang: Gang[LocalWorkerProcess] | None = None
        self._no_start_before = 0.0
        self._next_scan = time.monotonic()
        self._no_expiry_before = time.monotonic() + HEARTBEATS_TO_RENEW * settings.heartbeat_seconds
        self._thread = threading.Thread(target=self._supervise, name="executor", daemon=True)
        self._thread.start()

    def _start_process(self) -> LocalWorker:
        return SupervisedWorker(LocalWorkerProcess.start(self._settings, self._starter))

    def _join(self, spare: LocalWorker, device: str) -> LocalWorker:
        """Give a spare process a name and a device, which makes it a worker."""
        name = f"{self._instance}-{device.replace(':', '')}-{next(self._serial_numbers)}"
        spare.join(name, device)
        return spare

    def has_warm_worker(self) -> bool:
        """Return whether a worker process has loaded what it needs to train."""
        with self._lock:
            return any(worker.ready for worker in self._workers)

    def wake(self, device: str) -> None:
        """Wake one idle worker that serves `device`.

        If none is idle, the next worker that becomes idle is woken: it may have searched the queue just
        before the job was added.
        """
        with self._lock:
            for worker in self._workers:
                if worker.is_free and worker.serves(device):
                    worker.wake()
                    return
            self._pending_wakes.add(device)

    def cancel(self, job_id: str) -> None:
        """Order the worker that trains a job to read its cancel request, and start its grace period."""
        with self._lock:
            for worker in self._workers:
                if worker.job_id == job_id:
                    worker.check_signals()
                    if not self._is_interrupted:
                        self._is_interrupted = True
                        self._interrupt.send_bytes(b"cancel")  # the grace period is a new, earlier deadline

    def _supervise(self) -> None:
        while not self._closing.is_set():
            try:
                self._supervise_once()
            except Exception:  # such as too many open files, which may pass
                log.exception("supervision failed")
                self._closing.wait(FAILURE_SECONDS)

    def _supervise_once(self) -> None:
        """Receive signals until a deadline or the next scan is due, then handle whatever is due."""
        workers = self._workers + self._spares
        by_connection = {worker.process.connection: worker for worker in workers}
        due_times = (due for worker in workers for due, _ in self._deadlines(worker))
        next_due = min([self._next_scan, *due_times])
        for connection in wait([*by_connection, self._interrupts], max(0.0, next_due - time.monotonic())):
            if connection is self._interrupts:
                self._interrupts.recv_bytes()
                self._is_interrupted = False
            else:
                self._receive(by_connection[connection])  # type: ignore[index]
        # The scan is late only if this process was suspended or a call above blocked. Checked before
        # `_kill_overdue`, which would otherwise hold that time against the workers.
        if time.monotonic() > self._next_scan + self._settings.heartbeat_seconds:
            self._postpone_expiry()
            for worker in workers:
                worker.restart_deadlines()
        self._kill_overdue()
        with self._lock:
            if self._gang is not None and not self._gang.advance(self._workers):
                self._gang = None
        self._start_missing()
        if time.monotonic() >= self._next_scan:
            self._scan()
            self._next_scan = time.monotonic() + self._settings.scan_seconds

    def _deadlines(self, worker: LocalWorker) -> Sequence[tuple[float, KillReason]]:
        settings = self._settings
        return worker.deadlines(
            settings.hang_seconds,
            # A silent worker is killed shortly before its leases expire, so that it can't write afterwards.
            silent_seconds=settings.lease_seconds - settings.heartbeat_seconds,
            start_seconds=settings.start_seconds,
        )

    def _receive(self, worker: LocalWorker) -> None:
        """Receive one signal of a worker, or notice its death."""
        try:
            signal = worker.process.receive()
        except (EOFError, OSError):
            self._handle_death(worker)
            return
        except ValueError:
            log.exception("signal not understood", worker=worker.name)
            self._kill(worker, KillReason.UNKNOWN_MESSAGE)
            return
        with self._lock:
            job_id = worker.observe(signal)
            if isinstance(signal, RanksNeeded) and self._gang is not None:
                self._gang.assist(signal.rendezvous)
            pending = {device for device in self._pending_wakes if worker.serves(device)}
            if worker.is_free and pending:
                self._pending_wakes -= pending
                worker.wake()
        if job_id is not None:
            self._on_change(job_id)

    def _handle_death(self, worker: LocalWorker) -> None:
        """Remove a worker whose process has ended by itself, and reclaim its jobs."""
        reason = worker.process.describe_exit()
        log.warning("worker died", worker=worker.name, device=worker.device, reason=reason)
        self._remove(worker)
        if worker.name:
            self._unregister([worker.name], partial(self._recovery.release_workers, [worker.name], reason))

    def _kill_overdue(self) -> None:
        """Kill the workers that have missed a deadline."""
        now = time.monotonic()
        for worker in self._workers + self._spares:
            reasons = [reason for due, reason in self._deadlines(worker) if due <= now]
            # A signal that has arrived but was not received yet may postpone or cancel the deadline.
            if reasons and not worker.process.has_message:
                self._kill(worker, reasons[0])

    def _kill(self, worker: LocalWorker, reason: KillReason) -> None:
        """Kill a worker and reclaim its jobs; `reason` decides whether they are queued again or end."""
        log.warning("worker killed", worker=worker.name, job_id=worker.job_id, reason=reason.name.lower())
        self._remove(worker)
        if reason is KillReason.SILENCE or not worker.name:
            # A spare holds no jobs. The leases of a silent worker expire by themselves; reclaiming its jobs
            # here could block, as another silent worker may hold the database's lock.
            return
        hung = f"It made no progress for {self._settings.hang_seconds:g} s and was killed."
        release = partial(self._recovery.release_workers, [worker.name])
        reclaim: dict[KillReason, Callable[[], Sequence[str]]] = {
            KillReason.CANCEL: release,
            KillReason.RUNTIME: lambda: [
                *self._recovery.overrun(worker.name, worker.limited_job_id),
                # The other jobs of the group did not exceed their time; they run alone next.
                *release(),
            ],
            KillReason.HANG: partial(release, hung),
            KillReason.RANK_LOST: partial(release, "Another process of its job was lost."),
            KillReason.UNKNOWN_MESSAGE: partial(release, "It sent an unknown message and was killed."),
        }
        self._unregister([worker.name], reclaim[reason])

    def _remove(self, worker: LocalWorker) -> None:
        """Kill the process of a worker or spare, and leave the worker's device vacant."""
        worker.process.kill()
        if not worker.ready:
            self._no_start_before = time.monotonic() + RESTART_SECONDS
        if worker in self._spares:
            self._spares.remove(worker)
            return
        with self._lock:
            self._workers.remove(worker)
        self._vacant_devices.append(worker.device)

    def _unregister(self, names: Sequence[str], reclaim: Callable[[], Sequence[str]]) -> None:
        """Reclaim the jobs of workers that have ended, then delete the workers' records.

        Args:
            names: Names of the workers.
            reclaim: Reclaims their jobs and returns the jobs' ids.
        """
        try:
            for job_id in reclaim():
                self._on_change(job_id)
            self._records.unregister(names)
        except Unavailable:
            log.exception("workers not unregistered", workers=names)  # their leases and heartbeats expire

    def _start_missing(self) -> None:
        """Replace workers that are gone, by spares where possible, and start missing spares."""
        while self._vacant_devices and (self._spares or self._may_start()):
            process = self._spares.pop(0) if self._spares else self._start_process()
            worker = self._join(process, self._vacant_devices.pop(0))
            with self._lock:
                self._workers.append(worker)
        # When the service starts, spares must not compete with workers that are still importing PyTorch.
        all_ready = all(worker.ready for worker in self._workers)
        while self._workers and all_ready and len(self._spares) < self._settings.spare_workers:
            if not self._may_start():
                return
            self._spares.append(self._start_process())

    def _may_start(self) -> bool:
        return time.monotonic() >= self._no_start_before

    def _scan(self) -> None:
        """Find in the database what hints have missed."""
        self._starter.maintain()
        try:
            if time.monotonic() >= self._no_expiry_before:
                for job_id in self._recovery.expire():
                    log.warning("lease expired", job_id=job_id)
                    self._on_change(job_id)
            self._find_cancelled()
            self._release_unneeded()
            for device in self._queue.lengths():
                self._gather(device)
                self.wake(device)
            self._on_scan()
        except Unavailable as error:  # the next scan tries again
            log.warning("scan failed", reason=error.detail)
            self._postpone_expiry()

    def _gather(self, device: str) -> None:
        """Hold workers for the first job of a queue if it needs several; one such job runs at a time."""
        if self._gang is not None:
            return
        needed = self._queue.first_parallel(device)
        if needed is not None:
            with self._lock:
                own = [worker for worker in self._workers if worker.serves(device) and worker.ready]
                self._gang = Gang.gather(device, needed, own)

    def _release_unneeded(self) -> None:
        """Free workers that are held for a job that is no longer the next one, or was cancelled."""
        gang = self._gang
        if gang is None or gang.lead is not None or self._queue.first_parallel(gang.device) == gang.needed:
            return
        with self._lock:
            gang.release(self._workers)
            self._gang = None

    def _postpone_expiry(self) -> None:
        self._no_expiry_before = time.monotonic() + self._settings.lease_seconds

    def _find_cancelled(self) -> None:
        """Find the workers whose job has a cancel request, which any service process may have received."""
        busy = {worker.name: worker for worker in self._workers if worker.job_id is not None}
        for name in self._recovery.to_cancel(busy) if busy else ():
            busy[name].check_signals()

    def close(self) -> None:
        """Order the workers to release their jobs, wait for the grace period, and kill those that remain."""
        deadline = time.monotonic() + self._settings.shutdown_grace_seconds
        self._closing.set()
        self._interrupt.send_bytes(b"close")
        self._stop_workers()  # before the join: the thread may be waiting for the database
        self._thread.join()
        self._stop_workers()  # again: the thread may have replaced workers since
        for spare in self._spares:
            spare.process.kill()
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        if names := [worker.name for worker in self._workers]:
            self._unregister(names, partial(self._recovery.release_workers, names))
        self._database.close()

    def _stop_workers(self) -> None:
        with self._lock:
            for worker in self._workers:
                worker.stop()
