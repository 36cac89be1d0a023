"""The worker process: waits to be woken, claims jobs until none is left, trains them.

    python -m service.jobs.worker <fd>

The main thread trains. A second thread listens to the parent: it ends the process when the parent is
gone. A third renews the claim and reports life; both go on while the main one is inside a long call.
"""

import os
import socket
import sys
import threading
import time

import structlog
import torch

from service.errors import Unavailable
from service.jobs.channel import Channel, join_parent
from service.jobs.runner import Runner
from service.logs import configure_logging
from service.settings import Settings
from service.storage.storage import Storage
from service.storage.workers import NewWorker
from service.training.warm_up import warm_up

log = structlog.get_logger()

_WARM = object()


class Orders:
    """What the parent says, heard by a thread of its own.

    Attributes:
        work: set when there may be a job to claim.
        stop: set when the worker is to give its job back and end.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.work = threading.Event()
        self.stop = threading.Event()
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message, _ = self._channel.receive()
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone; the lease gives the job to another
            if message["order"] == "stop":
                self.stop.set()
            self.work.set()


def main(argv: list[str]) -> None:
    """Work until told to stop."""
    channel, settings, options = join_parent(argv)
    configure_logging(settings.log_format)
    orders = Orders(channel)
    warm_up()
    with Storage.open(settings) as storage:
        runner = Runner(
            options["name"], settings, storage, orders.stop, lambda job_id: _tell(channel, "changed", job_id)
        )
        storage.workers.register(_description(options, settings))
        threading.Thread(
            target=_beat, args=(options["name"], settings, storage, runner), name="heartbeat", daemon=True
        ).start()
        warming = runner.warm_up()
        while not orders.stop.is_set():
            orders.work.clear()
            try:
                found = runner.run_next(options["device"])
            except Unavailable as error:
                log.warning("no job claimed", worker=options["name"], reason=error.detail)
                found = False
            if not found and next(warming, _WARM) is _WARM:
                _tell(channel, "idle")
                orders.work.wait()
        storage.workers.unregister(options["name"])


def _tell(channel: Channel, event: str, job_id: str | None = None) -> None:
    try:
        channel.send({"event": event, "job_id": job_id})
    except OSError:
        os._exit(1)  # the parent is gone


def _description(options: dict[str, str], settings: Settings) -> NewWorker:
    cuda = options["device"].startswith("cuda")
    return NewWorker(
        id=options["name"],
        device=options["device"],
        device_name=torch.cuda.get_device_name() if cuda else None,
        threads=settings.threads_per_worker,
        hostname=socket.gethostname(),
        pid=os.getpid(),
    )


def _beat(name: str, settings: Settings, storage: Storage, runner: Runner) -> None:
    """Renew the claim and the sign of life, for as long as the process lives."""
    while True:
        time.sleep(settings.heartbeat_seconds)
        try:
            storage.workers.heartbeat(name)
            runner.renew()
        except Unavailable:
            log.exception("heartbeat failed", worker=name)  # the database is away: the next beat tries again


if __name__ == "__main__":
    main(sys.argv)
