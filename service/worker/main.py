"""The worker process: gets warm, joins, waits to be woken, claims jobs until none is left, trains them.

The main thread trains. A second thread listens to the parent: it ends the process when the parent is
gone. A third tells the parent that the process lives, a fourth tells the database, and renews the claim; all
go on while the main one is inside a long call.

Until it is told to join, under a name and for a device, the process is a spare: nobody sees it.
"""

import math
import os
import resource
import socket
import threading
import time
from pathlib import Path
from typing import Any

import structlog
import torch

from service.errors import Unavailable
from service.logs import configure_logging
from service.processes.channel import Channel
from service.runtime.garbage_collector import settle
from service.settings import Settings
from service.storage.storage import Storage
from service.storage.workers import NewWorker
from service.training.engines import optional
from service.training.warm_up import reseed, warm_up, warm_up_before_fork
from service.worker.runner import Runner

log = structlog.get_logger()

DATABASE_RETRY_SECONDS = 1.0
_WARM = object()


class Orders:
    """What the parent says, heard by a thread of its own.

    Attributes:
        joined: set when the worker is to join as `place` says, or to end without.
        work: set when there may be a job to claim.
        stop: set when the worker is to give its job back and end.
        wanted: set when the owner of a job that it trains wants something of it.
        place: its name and its device.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.joined = threading.Event()
        self.work = threading.Event()
        self.stop = threading.Event()
        self.wanted = threading.Event()
        self.place: dict[str, Any] = {}
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message, _ = self._channel.receive()
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone
            except Exception:
                log.exception("orders not understood")
                os._exit(1)  # the parent replaces this process
            if message["order"] == "join":
                self.place = message
            elif message["order"] == "stop":
                self.stop.set()
            elif message["order"] == "look":
                self.wanted.set()
            self.joined.set()
            self.work.set()


def preload() -> None:
    """Do what the fork server may do for its children."""
    warm_up_before_fork()
    optional.preload()


def main(channel: Channel) -> None:
    """Work until told to stop."""
    settings = channel.receive_settings()
    configure_logging(settings.log_format)
    reseed()
    orders = Orders(channel)
    warm_up(torch.device("cpu"))
    settle()
    _limit_memory(settings)
    _tell(channel, "warm")
    threading.Thread(target=_pulse, args=(channel, settings), name="pulse", daemon=True).start()
    orders.joined.wait()
    if not orders.stop.is_set():
        _work(channel, settings, orders)


def _limit_memory(settings: Settings) -> None:
    """What a job may take, beside what this process has reserved by now."""
    # The data segment, not the address space: torch maps far more than it uses.
    limit = _data_segment_bytes() + settings.worker_memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


def _data_segment_bytes() -> int:
    """What this process has reserved already: libraries take more than a GiB, and use little of it."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[5]) * resource.getpagesize() if pages.exists() else 0


def _work(channel: Channel, settings: Settings, orders: Orders) -> None:
    name, device = orders.place["name"], torch.device(orders.place["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
        warm_up(device)
        _limit_memory(settings)  # CUDA has started: what it takes is no job's

    def on_begin(job_id: str) -> None:
        _tell(channel, "begins", job_id)

    def on_change(job_id: str) -> None:
        _tell(channel, "changed", job_id)

    def on_limit(job_id: str, seconds_left: float) -> None:
        _tell(channel, "limit", job_id, None if math.isinf(seconds_left) else seconds_left)

    with Storage.open(settings) as storage:
        runner = Runner(
            name,
            device,
            settings,
            storage,
            orders.stop,
            orders.wanted,
            on_begin,
            on_change,
            on_limit,
        )
        _register(storage, _description(name, device, settings), orders)
        threading.Thread(
            target=_beat, args=(name, settings, storage, runner), name="heartbeat", daemon=True
        ).start()
        warming, is_warm = runner.warm_up(), False
        while not orders.stop.is_set():
            orders.work.clear()
            look_again_seconds = None
            try:
                found = runner.run_next()
            except Unavailable as error:
                log.warning("no job claimed", worker=name, reason=error.detail)
                found, look_again_seconds = False, DATABASE_RETRY_SECONDS  # a job may be its own already
            if found:
                continue
            if is_warm:
                _tell(channel, "idle")
                orders.work.wait(look_again_seconds)
            else:
                _tell(channel, "warms up")
                is_warm = next(warming, _WARM) is _WARM
                settle()
                _limit_memory(settings)  # libraries that were loaded meanwhile are no job's


def _tell(channel: Channel, event: str, job_id: str | None = None, seconds_left: float | None = None) -> None:
    try:
        channel.send({"event": event, "job_id": job_id, "seconds_left": seconds_left})
    except OSError:
        os._exit(1)  # the parent is gone


def _register(storage: Storage, worker: NewWorker, orders: Orders) -> None:
    """Register as soon as the database is there."""
    while not orders.stop.is_set():
        try:
            return storage.workers.register(worker)
        except Unavailable as error:
            log.warning("the database is awaited", worker=worker.id, reason=error.detail)
            orders.stop.wait(DATABASE_RETRY_SECONDS)


def _description(name: str, device: torch.device, settings: Settings) -> NewWorker:
    return NewWorker(
        id=name,
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        threads=settings.threads_per_worker,
        hostname=socket.gethostname(),
        pid=os.getpid(),
    )


def _pulse(channel: Channel, settings: Settings) -> None:
    """Tell the parent that the process is alive; no database that is away comes in between."""
    while True:
        time.sleep(settings.heartbeat_seconds)
        _tell(channel, "alive")


def _beat(name: str, settings: Settings, storage: Storage, runner: Runner) -> None:
    """Renew the claim and the sign of life, for as long as the process lives."""
    while True:
        time.sleep(settings.heartbeat_seconds)
        try:
            runner.renew()
            storage.workers.heartbeat(name)
        except Exception as error:  # the next beat tries again
            log.warning("heartbeat failed", worker=name, reason=str(error))
