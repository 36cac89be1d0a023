"""The commands that run until they are stopped: the service, and workers without an API."""

import os
import signal
import socket
import threading
from contextlib import closing
from functools import partial
from types import FrameType

import structlog
import uvicorn

from service.app import CHILD_MODULES, Shutdown, create_app, local_executor
from service.connections import Connection, Connections, Limits
from service.events.watch import Watch
from service.logs import configure_logging
from service.processes.starter import make_starter
from service.runtime.garbage_collector import freeze_loaded_objects
from service.runtime.machine import raise_file_limit
from service.settings import Settings
from service.storage.migrate import migrate_when_available
from service.storage.storage import Storage

log = structlog.get_logger()

# Maximum number of connections that wait to be accepted.
BACKLOG = 2048
# uvicorn ticks every 0.1 s; the time limits of connections are checked every second.
TICKS_PER_SWEEP = 10
# Former names of settings, which are read for one more release.
RENAMED = {"FITSERVE_SWEEP_SECONDS": "FITSERVE_SCAN_SECONDS"}


def prepare_process(settings: Settings) -> None:
    """Configure logging, warn of former names of settings, and set limits and signals of the process."""
    configure_logging(settings.log_format)
    for former in RENAMED.keys() & os.environ.keys():
        log.warning("setting renamed", former=former, now=RENAMED[former])
    raise_file_limit()
    # A parent may have ignored it; the exit statuses of children would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def serve(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or Ctrl-C; a second signal ends the process at once."""
    prepare_process(settings)
    starter = make_starter(settings, CHILD_MODULES)  # first: its imports take seconds
    listening = socket.create_server((settings.host, settings.port), backlog=BACKLOG)
    host, port = listening.getsockname()[:2]
    app = create_app(settings, starter)
    freeze_loaded_objects()
    connections = Connections(Limits.of(settings))
    config = uvicorn.Config(
        app,
        http=partial(Connection, connections),  # type: ignore[arg-type]  # it is only called
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]  # any number of seconds
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
    )
    log.info(
        "listening", url=f"http://{host}:{port}", data_dir=str(settings.data_dir), workers=settings.workers
    )
    Server(config, app.state.shutdown, connections).run(sockets=[listening])


class Server(uvicorn.Server):
    """A server that requests the shutdown of the service at the first signal and exits at the second."""

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, connections: Connections) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SWEEP == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            _exit_immediately(sig)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Before waiting for open requests: workers and requests share the same grace period.
        self._shutdown.request()
        await super().shutdown(sockets)


def _exit_immediately(number: int) -> None:
    """Exit without cleaning up: child processes exit with their parent, and their leases expire."""
    os._exit(128 + number)


def work(settings: Settings) -> None:
    """Run workers until SIGTERM or Ctrl-C; a second signal ends the process at once."""
    prepare_process(settings)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            _exit_immediately(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with closing(make_starter(settings, CHILD_MODULES)) as starter, Storage.open(settings) as storage:
        if not migrate_when_available(storage.database, stop):
            return
        executor = local_executor(settings, starter, Watch())
        log.info("working", data_dir=str(settings.data_dir), workers=settings.workers)
        stop.wait()
        executor.close()
