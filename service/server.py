"""The processes a person starts: the service, or workers alone."""

import os
import signal
import socket
import threading
from contextlib import closing
from types import FrameType

import structlog
import uvicorn

from service.app import CHILDREN, Stop, create_app, local_executor
from service.events.watch import Watch
from service.logs import configure_logging
from service.processes.starter import make_starter
from service.runtime.garbage_collector import settle
from service.runtime.machine import raise_file_limit
from service.settings import Settings
from service.storage.migrate import migrate_when_available
from service.storage.storage import Storage

log = structlog.get_logger()

BACKLOG = 2048


# Former names of settings, which are read for one more release.
RENAMED = {"FITSERVE_SWEEP_SECONDS": "FITSERVE_SCAN_SECONDS"}


def prepare_process(settings: Settings) -> None:
    """Configure logging, warn of former names of settings, raise the limit of open files."""
    configure_logging(settings.log_format)
    for former in RENAMED.keys() & os.environ.keys():
        log.warning("setting renamed", former=former, now=RENAMED[former])
    raise_file_limit()


def serve(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or Ctrl-C; a second signal ends the process at once."""
    prepare_process(settings)
    starter = make_starter(settings, CHILDREN)  # first of all: it imports for seconds
    listening = socket.create_server((settings.host, settings.port), backlog=BACKLOG)
    host, port = listening.getsockname()[:2]
    app = create_app(settings, starter)
    settle()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
    )
    log.info(
        "listening", url=f"http://{host}:{port}", data_dir=str(settings.data_dir), workers=settings.workers
    )
    Server(config, app.state.stop).run(sockets=[listening])


class Server(uvicorn.Server):
    """Stops workers and long answers at the first signal, and ends itself at the second, at once."""

    def __init__(self, config: uvicorn.Config, stop: Stop) -> None:
        super().__init__(config)
        self._stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            _end_at_once(sig)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop.tell()  # not after the requests that are open: both have the same grace time
        await super().shutdown(sockets)


def _end_at_once(number: int) -> None:
    """End without a word to anyone: workers and helpers follow, leases give their jobs to others."""
    os._exit(128 + number)


def work(settings: Settings) -> None:
    """Run workers until SIGTERM or Ctrl-C; a second signal ends the process at once."""
    prepare_process(settings)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            _end_at_once(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with closing(make_starter(settings, CHILDREN)) as starter, Storage.open(settings) as storage:
        if not migrate_when_available(storage.database, stop):
            return
        executor = local_executor(settings, starter, Watch())
        log.info("working", data_dir=str(settings.data_dir), workers=settings.workers)
        stop.wait()
        executor.close()
