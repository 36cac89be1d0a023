"""The worker process: load libraries, join, claim and train jobs until none is queued, wait for orders.

The main thread trains. A second thread receives orders and ends the process when the parent is gone. A third
sends a sign of life to the parent; a fourth writes one to the database and renews the claims. These three run
while the main thread is inside a long call.

Until it is ordered to join, under a name and for a device, the process is a spare, which no client can see.
"""

import os
import resource
import socket
import threading
import time
from pathlib import Path

import structlog
import torch

from service.errors import Unavailable
from service.logs import configure_logging
from service.processes.channel import Channel
from service.runtime.garbage_collector import freeze_loaded_objects
from service.settings import Settings
from service.storage.identity import bound_identity
from service.storage.storage import Storage
from service.storage.workers import NewWorker
from service.training.warm_up import reseed, warm_up, warm_up_before_fork
from service.worker.messages import Assist, Hold, Join, Lead
from service.worker.parent import Parent
from service.worker.runner import Runner

log = structlog.get_logger()

DATABASE_RETRY_SECONDS = 1.0
_WARM = object()


def preload() -> None:
    """Load what the fork server may load for its children."""
    warm_up_before_fork()


def main(channel: Channel) -> None:
    """Run a worker until it is ordered to stop."""
    settings = channel.receive_settings()
    configure_logging(settings.log_format)
    reseed()
    parent = Parent(channel)
    # A spare compiles nothing: it may never join, and compiling would slow down the workers that train.
    warm_up(torch.device("cpu"))
    freeze_loaded_objects()
    _limit_memory(settings)
    parent.ready()
    threading.Thread(target=_send_signs_of_life, args=(parent, settings), name="pulse", daemon=True).start()
    parent.joined.wait()
    if parent.membership is not None and not parent.stopping.is_set():
        _work(parent, settings, parent.membership)


def _limit_memory(settings: Settings) -> None:
    """Limit the memory that a job may reserve, on top of the current reservation of this process."""
    # The data segment, not the address space: torch maps far more than it uses.
    limit = _data_segment_bytes() + settings.worker_memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


def _data_segment_bytes() -> int:
    """Return the size of the data segment; libraries reserve more than a GiB and use little of it."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[5]) * resource.getpagesize() if pages.exists() else 0


def _work(parent: Parent, settings: Settings, membership: Join) -> None:
    name, device = membership.name, torch.device(membership.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        warm_up(device)
        _limit_memory(settings)  # again: the limit must not include what CUDA has reserved by now
    with Storage.open(settings) as storage:
        runner = Runner(name, device, settings, storage, parent)
        _register(storage, _description(name, device, settings), parent.stopping)
        threading.Thread(
            target=_send_heartbeats, args=(name, settings, storage, runner), name="heartbeat", daemon=True
        ).start()
        warming, is_warm = runner.warm_up(), False
        while not parent.stopping.is_set():
            parent.ordered.clear()  # before the claim: an order that arrives during it is not lost
            task, retry_seconds = parent.take_task(), None
            if isinstance(task, Assist):
                runner.assist(task)
                continue
            if isinstance(task, Hold):
                parent.idle()
                parent.ordered.wait()
                continue
            try:
                found = runner.run_next(task.processes if isinstance(task, Lead) else 1)
            except Unavailable as error:
                log.warning("no job claimed", worker=name, reason=error.detail)
                found, retry_seconds = False, DATABASE_RETRY_SECONDS  # it may have claimed a job unknowingly
            if found:
                continue
            if is_warm:
                parent.idle()
                parent.ordered.wait(retry_seconds)
            else:
                # One part at a time: a job that is queued during the warm-up waits for one part only.
                parent.warming_up()
                is_warm = next(warming, _WARM) is _WARM
                freeze_loaded_objects()
                _limit_memory(settings)  # again: the limit must not include libraries loaded by now


def _register(storage: Storage, worker: NewWorker, stopping: threading.Event) -> None:
    """Register the worker, retrying while the database is unavailable."""
    while not stopping.is_set():
        try:
            storage.artifacts.expect(bound_identity(storage.database))
            return storage.workers.register(worker)
        except Unavailable as error:
            log.warning("waiting for the database", worker=worker.id, reason=error.detail)
            stopping.wait(DATABASE_RETRY_SECONDS)


def _description(name: str, device: torch.device, settings: Settings) -> NewWorker:
    return NewWorker(
        id=name,
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        threads=settings.threads_per_worker,
        hostname=socket.gethostname(),
        pid=os.getpid(),
    )


def _send_signs_of_life(parent: Parent, settings: Settings) -> None:
    """Report to the parent that the process runs; independent of the database."""
    while True:
        time.sleep(settings.heartbeat_seconds)
        parent.alive()


def _send_heartbeats(name: str, settings: Settings, storage: Storage, runner: Runner) -> None:
    """Renew the claims and the worker's heartbeat in the database."""
    while True:
        time.sleep(settings.heartbeat_seconds)
        try:
            runner.renew()
            storage.workers.heartbeat(name)
        except Unavailable as error:
            log.warning("heartbeat failed", worker=name, reason=error.detail)
        except Exception:  # without this thread the claims would expire: the next heartbeat tries again
            log.exception("heartbeat failed", worker=name)
