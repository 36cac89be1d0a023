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
from fastapi import FastAPI

from service.api.readiness import Readiness
from service.api.state import Startup
from service.app import CHILD_MODULES, Shutdown, create_app, create_health_app, local_executor
from service.connections import Connection, Connections, Limits
from service.events.watch import Watch
from service.processes.starter import make_starter
from service.runtime.garbage_collector import freeze_loaded_objects
from service.runtime.machine import raise_file_limit
from service.settings import Settings
from service.storage.prepare import prepare_when_available
from service.storage.storage import Storage

log = structlog.get_logger()

# uvicorn ticks every 0.1 s; the time limits of connections are checked every second.
TICKS_PER_SWEEP = 10


def prepare_process() -> None:
    """Set limits and signals of the process."""
    raise_file_limit()
    # A parent may have ignored it; the exit statuses of children would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def serve(settings: Settings, listening: socket.socket) -> None:
    """Serve HTTP until SIGTERM or Ctrl-C; a second signal ends the process at once.

    Args:
        settings: The settings.
        listening: The socket to serve.

    Raises:
        StartFailed: The storage became available and turned out to be unusable.
    """
    prepare_process()
    starter = make_starter(settings, CHILD_MODULES)
    app = create_app(settings, starter)
    freeze_loaded_objects()
    config, connections = _http(settings, app)
    log.info("listening", url=url_of(listening), data_dir=str(settings.data_dir), workers=settings.workers)
    Server(config, app.state.shutdown, connections).run(sockets=[listening])
    if app.state.shutdown.failure is not None:
        raise app.state.shutdown.failure


def _http(settings: Settings, app: FastAPI) -> tuple[uvicorn.Config, Connections]:
    """Return the configuration of a server of an app, and the limits of its connections."""
    connections = Connections(Limits.of(settings))
    return uvicorn.Config(
        app,
        http=partial(Connection, connections),  # type: ignore[arg-type]  # it is only called
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `Forwarded` reads them
        lifespan="on",
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]  # any number of seconds
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
    ), connections


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """A server that requests the shutdown of the service at the first signal and exits at the second.

    It also exits when the service has failed.
    """

    def __init__(self, config: uvicorn.Config, shutdown: Shutdown, connections: Connections) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SWEEP == 0:
            self._connections.sweep()
        return await super().on_tick(counter) or self._shutdown.failure is not None

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


def work(settings: Settings, listening: socket.socket | None) -> None:
    """Run workers until SIGTERM or Ctrl-C; a second signal ends the process at once.

    Args:
        settings: The settings.
        listening: The socket to serve `/livez` and `/readyz` on.

    Raises:
        StartFailed: The storage became available and turned out to be unusable.
    """
    prepare_process()
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            _exit_immediately(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with closing(make_starter(settings, CHILD_MODULES)) as starter, Storage.open(settings) as storage:
        startup = Startup()
        if listening is not None:
            _serve_health(settings, startup, listening)
        if not prepare_when_available(storage, stop, startup.wait):
            return
        executor = local_executor(settings, starter, Watch())
        startup.readiness = Readiness(storage, executor.has_warm_worker, {})
        log.info("working", data_dir=str(settings.data_dir), workers=settings.workers)
        stop.wait()
        executor.close()


def _serve_health(settings: Settings, startup: Startup, listening: socket.socket) -> None:
    """Serve `/livez` and `/readyz` in a thread."""
    config, connections = _http(settings, create_health_app(startup))
    server = Server(config, Shutdown(Watch()), connections)
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="health", daemon=True).start()
    log.info("health", url=url_of(listening))
