"""Worker processes on this machine: kept warm, woken when there is work, replaced when they die or hang."""

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
from service.executors.local.gpus import usable_gpus
from service.executors.local.supervised_worker import KillReason, Worker
from service.executors.local.worker_process import LocalWorkerProcess
from service.processes.starter import Starter
from service.settings import Settings
from service.storage.database import Database
from service.storage.queue import QueueStore
from service.storage.recovery import RecoveryStore
from service.storage.workers import WorkerStore

log = structlog.get_logger()

# A process that dies before it was ever ready is replaced after this time, or a broken one would spin.
RESTART_SECONDS = 5.0
# After a turn of the supervision that failed, the next one comes after this time.
FAILURE_SECONDS = 1.0
# Whoever is alive renews its claims within so many heartbeats once the database is there.
HEARTBEATS_TO_RENEW = 2

LocalWorker = Worker[LocalWorkerProcess]


class LocalExecutor:
    """Starts `settings.workers` CPU workers and one for each GPU, and keeps them running.

    A worker that dies is replaced at once, and so is one that falls silent, as a frozen one does, shortly
    before its claim expires: by a spare process that is warm already, since importing PyTorch takes seconds.
    One thread listens to all workers and, each `scan_seconds`, looks for what hints have missed: expired
    claims, jobs to be cancelled, and queued jobs while a worker is idle.

    After a sweep that came late, nobody is held to what was due before: who was frozen together with this
    process has a lease's time to say that it is alive, and its grace to stop. Nor do claims expire then, or
    after a sweep that failed: who could not reach the database has that time to renew them. They don't at the
    start either, for some heartbeats: it may be the database's too.

    Args:
        database: one that waits shortly for a lock, which a frozen worker may hold until it is ended by this.
        on_change: called with a job's id when one of these workers has changed it.
        on_sweep: called at each sweep.
    """

    def __init__(
        self,
        settings: Settings,
        instance: str,
        database: Database,
        starter: Starter,
        on_change: Callable[[str], None] = lambda job_id: None,
        on_sweep: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._database = database
        self._starter = starter
        self._queue, self._recovery, self._records = (
            QueueStore(database),
            RecoveryStore(database),
            WorkerStore(database),
        )
        self._on_change, self._on_sweep = on_change, on_sweep
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._hint, self._hinting = Pipe(duplex=False)
        self._serial = itertools.count()
        self._unheard: set[str] = set()
        gpus = usable_gpus(version("torch")) if settings.gpu_workers else 0
        devices = ["cpu"] * settings.workers + [f"cuda:{index}" for index in range(gpus)]
        self._workers = [self._placed(self._start_spare(), device) for device in devices]
        self._spares: list[LocalWorker] = []
        self._vacant: list[str] = []  # the devices of workers that are gone
        self._not_before = 0.0  # when the next process may be started
        self._next_sweep = time.monotonic()
        self._lenient_until = time.monotonic() + HEARTBEATS_TO_RENEW * settings.heartbeat_seconds
        self._thread = threading.Thread(target=self._listen, name="executor", daemon=True)
        self._thread.start()

    def _start_spare(self) -> LocalWorker:
        return Worker(LocalWorkerProcess.start(self._settings, self._starter))

    def _placed(self, worker: LocalWorker, device: str) -> LocalWorker:
        """A spare process that has been given a name and a device."""
        name = f"{self._instance}-{device.replace(':', '')}-{next(self._serial)}"
        worker.join(name, device)
        return worker

    def wake(self, device: str) -> None:
        """Wake one idle worker that may take a job for `device`.

        When none is idle, the next one that says so is sent to look again: it may have looked for work
        just before the job was queued.
        """
        with self._lock:
            for worker in self._workers:
                if worker.idle and worker.serves(device):
                    worker.wake()
                    return
            self._unheard.add(device)

    def cancel(self, job_id: str) -> None:
        """A job is to be cancelled: the worker that trains it must have stopped in a moment."""
        with self._lock:
            for worker in self._workers:
                if worker.job_id == job_id:
                    worker.check_signals()
                    self._hinting.send_bytes(b"cancel")

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                self._turn()
            except Exception:  # too many open files, say: the next turn may find it better
                log.exception("supervision failed")
                self._closing.wait(FAILURE_SECONDS)

    def _turn(self) -> None:
        """Hear what workers say, until something is due; do that."""
        processes = self._workers + self._spares
        by_connection = {worker.process.connection: worker for worker in processes}
        dues = (due for worker in processes for due, _ in self._deadlines(worker))
        until = min([self._next_sweep, *dues])
        for connection in wait([*by_connection, self._hint], max(0.0, until - time.monotonic())):
            if connection is self._hint:
                self._hint.recv_bytes()
            else:
                self._hear(by_connection[connection])  # type: ignore[index]
        if time.monotonic() > self._next_sweep + self._settings.heartbeat_seconds:
            self._be_lenient()
            for worker in processes:
                worker.restart_deadlines()
        self._end_overdue()
        self._fill_vacant()
        if time.monotonic() >= self._next_sweep:
            self._sweep()
            self._next_sweep = time.monotonic() + self._settings.scan_seconds

    def _deadlines(self, worker: LocalWorker) -> Sequence[tuple[float, KillReason]]:
        settings = self._settings
        return worker.deadlines(
            settings.hang_seconds,
            silent_seconds=settings.lease_seconds - settings.heartbeat_seconds,
            start_seconds=settings.start_seconds,
        )

    def _hear(self, worker: LocalWorker) -> None:
        try:
            signal = worker.process.receive()
        except (EOFError, OSError):
            self._bury(worker)
            return
        except ValueError:
            log.exception("signal not understood", worker=worker.name)
            self._end(worker, KillReason.UNKNOWN_MESSAGE)
            return
        with self._lock:
            job_id = worker.observe(signal)
            unheard = {device for device in self._unheard if worker.serves(device)}
            if worker.idle and unheard:
                self._unheard -= unheard
                worker.wake()
        if job_id is not None:
            self._on_change(job_id)

    def _bury(self, dead: LocalWorker) -> None:
        """Take in that a process has died: its place is vacant, and what it held goes back."""
        fate = dead.process.fate()
        log.warning("worker died", worker=dead.name, device=dead.device, fate=fate)
        self._vacate(dead)
        if dead.name:
            self._settle([dead.name], partial(self._recovery.release_workers, [dead.name], fate))

    def _end_overdue(self) -> None:
        """End workers that are overdue. One with more to be heard has perhaps begun something else since."""
        now = time.monotonic()
        for worker in self._workers + self._spares:
            reasons = [reason for due, reason in self._deadlines(worker) if due <= now]
            if reasons and not worker.process.has_message:
                self._end(worker, reasons[0])

    def _end(self, worker: LocalWorker, reason: KillReason) -> None:
        """End a worker that does not come out of what it is at; its job as the reason says."""
        log.warning("worker ended", worker=worker.name, job_id=worker.job_id, reason=reason.name.lower())
        self._vacate(worker)
        if reason is KillReason.SILENCE or not worker.name:
            # A spare holds no jobs. The claim of a silent worker expires soon; another silent one may hold
            # the database's lock.
            return
        hung = f"It made no progress for {self._settings.hang_seconds:g} s and was killed."
        release = partial(self._recovery.release_workers, [worker.name])
        settle: dict[KillReason, Callable[[], Sequence[str]]] = {
            KillReason.CANCEL: release,
            # The others of a group are not to blame, and run by themselves next.
            KillReason.RUNTIME: lambda: [
                *self._recovery.overrun(worker.name, worker.limited_job_id),
                *release(),
            ],
            KillReason.HANG: partial(release, hung),
            KillReason.UNKNOWN_MESSAGE: partial(release, "It sent an unknown message and was killed."),
        }
        self._settle([worker.name], settle[reason])

    def _vacate(self, worker: LocalWorker) -> None:
        worker.process.kill()
        if not worker.ready:
            self._not_before = time.monotonic() + RESTART_SECONDS
        if worker in self._spares:
            self._spares.remove(worker)
            return
        with self._lock:
            self._workers.remove(worker)
        self._vacant.append(worker.device)

    def _settle(self, names: Sequence[str], settle: Callable[[], Sequence[str]]) -> None:
        """See to the jobs of workers that are gone, and forget these."""
        try:
            for job_id in settle():
                self._on_change(job_id)
            self._records.unregister(names)
        except Unavailable:
            log.exception("workers not settled", workers=names)  # their leases and heartbeats run out

    def _fill_vacant(self) -> None:
        """Put spare processes in the place of workers that are gone, and start new spares."""
        while self._vacant and (self._spares or self._may_start()):
            spare = self._spares.pop(0) if self._spares else self._start_spare()
            worker = self._placed(spare, self._vacant.pop(0))
            with self._lock:
                self._workers.append(worker)
        all_warm = all(worker.ready for worker in self._workers)  # at the start, they go first
        while self._workers and all_warm and len(self._spares) < self._settings.spare_workers:
            if not self._may_start():
                return
            self._spares.append(self._start_spare())

    def _may_start(self) -> bool:
        return time.monotonic() >= self._not_before

    def _sweep(self) -> None:
        self._starter.maintain()
        try:
            if time.monotonic() >= self._lenient_until:
                for job_id in self._recovery.expire():
                    log.warning("claim expired", job_id=job_id)
                    self._on_change(job_id)
            self._note_cancelled()
            for device in self._queue.lengths():
                self.wake(device)
            self._on_sweep()
        except Unavailable as error:  # the database is away: the next sweep tries again
            log.warning("sweep failed", reason=error.detail)
            self._be_lenient()

    def _be_lenient(self) -> None:
        self._lenient_until = time.monotonic() + self._settings.lease_seconds

    def _note_cancelled(self) -> None:
        """Find the workers whose job is to be cancelled, by whichever process that was asked for."""
        busy = {worker.name: worker for worker in self._workers if worker.job_id is not None}
        for name in self._recovery.to_cancel(busy) if busy else ():
            busy[name].check_signals()

    def close(self) -> None:
        """Ask the workers to give their jobs back, wait for the grace time, end what is left."""
        deadline = time.monotonic() + self._settings.shutdown_grace_seconds
        self._closing.set()
        self._hinting.send_bytes(b"close")
        self._stop_workers()  # at once: the thread may be waiting for the database
        self._thread.join()
        self._stop_workers()  # those, too, that it has put in the place of others
        for spare in self._spares:
            spare.process.kill()
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
        if names := [worker.name for worker in self._workers]:
            self._settle(names, partial(self._recovery.release_workers, names))
        self._database.close()

    def _stop_workers(self) -> None:
        with self._lock:
            for worker in self._workers:
                worker.stop()
