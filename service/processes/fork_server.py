"""Start children by forking one process that has imported what they need."""

import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import structlog

from service.processes.beats import Beats
from service.processes.channel import Channel
from service.processes.child import Child, OrphanedProcess
from service.settings import Settings

log = structlog.get_logger()

REQUEST_BYTES = 1024
READY = b"ready"
# A fork server that dies while it starts is started again after this time; a broken installation would spin.
RESTART_SECONDS = 5.0
END_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36
# In the fork server OpenBLAS starts no threads, and PyTorch asks the driver for the number of GPUs:
# asking CUDA would make it unusable in all children.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


@dataclass(frozen=True)
class Request:
    """A request for a child.

    Attributes:
        number: The serial number of the request.
        module: The module whose `main` the child runs.
    """

    number: int
    module: str

    def to_bytes(self) -> bytes:
        """Return the message that asks for the child."""
        return f"{self.number} {self.module}".encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Read the message."""
        number, module = text.decode().split()
        return cls(int(number), module)

    def answer(self, pid: int) -> bytes:
        """Return the message with which the child reports its process id."""
        return f"{self.number} {pid}".encode()


class ForkedProcess:
    """A process that a fork server was asked for."""

    def __init__(self, server: "ForkServer") -> None:
        self._server = server
        self._asked = time.monotonic()
        self._orphan: OrphanedProcess | None = None
        self._is_cancelled = False

    def was_forked(self, pid: int) -> None:
        """Note that the process exists."""
        self._orphan = OrphanedProcess(pid)
        if self._is_cancelled:
            self._orphan.kill()
            self._server.reap(self._orphan)

    def was_lost(self) -> None:
        """Note that the process will never exist."""
        self._is_cancelled = True

    @property
    def pid(self) -> int | None:
        """The process id; None until the process exists."""
        self._server.hear()
        return self._orphan.pid if self._orphan else None

    @property
    def last_sign(self) -> float:
        """When the process was asked for, or the fork server last showed that it lives."""
        return max(self._asked, self._server.last_sign)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        self._server.hear()
        if self._orphan is None:
            return -signal.SIGKILL if self._is_cancelled else None
        return self._orphan.poll()

    def kill(self) -> None:
        """Send SIGKILL, at once or as soon as the process exists."""
        self._server.hear()
        self._is_cancelled = True
        if self._orphan:
            self._orphan.kill()


class ForkServer:
    """Starts children by fork; see `service.processes.fork_server_main` for the process that forks.

    The methods may be called from any thread and don't block: a child that is asked for while the fork
    server starts exists as soon as that is ready. If the fork server dies, children that exist go on, the
    channels of those that don't exist yet report EOF, and a new fork server is started.

    Args:
        modules: Imported by the fork server, each with a function `preload`.
        start_seconds: A fork server that shows no sign of life for this long while it has work is replaced.
    """

    def __init__(self, modules: Sequence[str], start_seconds: float) -> None:
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError("This system does not let a process adopt orphans: set start_method to `spawn`.")
        self._modules = modules
        self._start_seconds = start_seconds
        self._lock = threading.RLock()
        self._unreaped: list[OrphanedProcess] = []
        self._numbers = itertools.count()
        self._not_before = 0.0
        self._is_closed = False
        self._launch()

    def _launch(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "service.processes.fork_server_main"),
                    *(str(theirs.fileno()), *self._modules),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**_ENVIRONMENT, **os.environ},
            )
        self._beats = Beats(self._control)
        self._is_ready = False
        self._waiting: dict[int, ForkedProcess] = {}

    @property
    def pid(self) -> int:
        """The process id of the fork server."""
        return self._process.pid

    @property
    def last_sign(self) -> float:
        """When the fork server last showed that it lives."""
        return self._beats.last

    def start(self, module: str, settings: Settings) -> Child:
        """Ask for a process that runs the `main` of a module."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            self.maintain()
            request, process = Request(next(self._numbers), module), ForkedProcess(self)
            try:
                socket.send_fds(self._control, [request.to_bytes()], [theirs.fileno()], socket.MSG_DONTWAIT)
                self._waiting[request.number] = process
            except OSError as error:  # dead, or stuck with a full socket: the closed channel says so
                log.warning("fork server not reached", reason=str(error))
        return Child(process, Channel.to_child(ours, settings))

    def hear(self) -> None:
        """Take in which children exist by now."""
        with self._lock:
            for message in self._beats.receive():
                if message == READY:
                    self._is_ready = True
                    continue
                number, pid = map(int, message.split())
                self._waiting.pop(number).was_forked(pid)
            if self._beats.has_ended:
                for process in self._waiting.values():
                    process.was_lost()
                self._waiting.clear()

    def reap(self, orphan: OrphanedProcess) -> None:
        """Wait, in `maintain`, for a killed process that nobody else waits for."""
        self._unreaped.append(orphan)

    def maintain(self) -> None:
        """Start another fork server in place of one that has died or is stuck."""
        with self._lock:
            self.hear()
            self._unreaped = [orphan for orphan in self._unreaped if orphan.poll() is None]
            is_stuck = bool(self._waiting or not self._is_ready) and (
                time.monotonic() > max(self._oldest_request(), self.last_sign) + self._start_seconds
            )
            if is_stuck:
                self._process.kill()
                self._process.wait()
                self.hear()
            if self._is_closed or self._process.poll() is None or time.monotonic() < self._not_before:
                return
            log.warning("fork server restarted", status=self._process.returncode, was_ready=self._is_ready)
            self._not_before = time.monotonic() + RESTART_SECONDS
            self._control.close()
            self._launch()

    def _oldest_request(self) -> float:
        return min((process.last_sign for process in self._waiting.values()), default=0.0)

    def close(self) -> None:
        """End the fork server; children are not affected."""
        with self._lock:
            self._is_closed = True
            self.hear()
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()
