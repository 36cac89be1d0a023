"""Start children by fork from one process that has imported their libraries."""

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

from service.processes.beats import BeatReceiver
from service.processes.channel import Channel
from service.processes.child import Child, OrphanedProcess
from service.settings import Settings

log = structlog.get_logger()

REQUEST_BYTES = 1024
# Answered in place of a process id when the fork has failed.
NO_PROCESS = 0
READY = b"ready"
# Delay between two starts of the fork server, so that a broken installation doesn't spin.
RESTART_SECONDS = 5.0
END_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36
# Without threads of OpenBLAS, the fork server is safe to fork. PyTorch counts GPUs through the driver (NVML):
# counting them with CUDA would make CUDA unusable in all children.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


@dataclass(frozen=True)
class Request:
    """A request for a child.

    Attributes:
        number: Serial number of the request.
        module: Module whose `main` the child runs.
    """

    number: int
    module: str

    def to_bytes(self) -> bytes:
        """Return the message of this request."""
        return f"{self.number} {self.module}".encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Parse the message of a request."""
        number, module = text.decode().split()
        return cls(int(number), module)

    def answer(self, pid: int) -> bytes:
        """Return the message by which a child reports its process id, or the fork server `NO_PROCESS`."""
        return f"{self.number} {pid}".encode()


class ForkedProcess:
    """A process requested from a fork server; it may not exist yet."""

    def __init__(self, server: "ForkServer") -> None:
        self._server = server
        self._requested_at = time.monotonic()
        self._orphan: OrphanedProcess | None = None
        self._is_cancelled = False

    def mark_forked(self, pid: int) -> None:
        """Set the process id; kill the process if that was requested before."""
        self._orphan = OrphanedProcess(pid)
        if self._is_cancelled:
            self.kill()

    def mark_lost(self) -> None:
        """Mark that the process will never exist: the fork has failed, or the fork server is gone."""
        self._is_cancelled = True

    @property
    def pid(self) -> int | None:
        """The process id; None until the process exists."""
        self._look_for_process()
        return self._orphan.pid if self._orphan else None

    @property
    def last_sign(self) -> float:
        """Time of the request or of the last sign of life of the fork server, whichever is later."""
        return max(self._requested_at, self._server.last_sign)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        self._look_for_process()
        if self._orphan is None:
            return -signal.SIGKILL if self._is_cancelled else None
        return self._orphan.poll()

    def kill(self) -> None:
        """Send SIGKILL, immediately or as soon as the process exists."""
        self._look_for_process()
        self._is_cancelled = True
        if self._orphan:
            self._orphan.kill()
            self._server.reap(self._orphan)

    def _look_for_process(self) -> None:
        if self._orphan is None:
            self._server.receive()


class ForkServer:
    """Starts children by fork; see `service.processes.fork_server_main` for the process that forks.

    The methods may be called from any thread and don't block. A child that is requested while the fork server
    is starting is forked once it is ready. If the fork server dies, existing children continue, the channels
    of requested children report EOF, and `maintain` starts a new fork server.

    Each packet to the fork server is a request, with the descriptor of the child's end of its channel.
    Packets from the fork server and its children are signs of life, `READY`, and process ids.

    Args:
        modules: Modules that the fork server imports; each has a function `preload`.
        start_seconds: Time without a sign of life after which a fork server with open requests is replaced.

    Raises:
        OSError: The system has no subreapers.
    """

    def __init__(self, modules: Sequence[str], start_seconds: float) -> None:
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError("This system has no subreapers; set `start_method` to `spawn`.")
        self._modules = modules
        self._start_seconds = start_seconds
        self._lock = threading.RLock()
        self._unreaped: list[OrphanedProcess] = []  # killed, and no longer used by a `Child`
        self._numbers = itertools.count()
        self._no_start_before = 0.0
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
        self._beats = BeatReceiver(self._control)
        self._is_ready = False
        self._open_requests: dict[int, ForkedProcess] = {}

    @property
    def pid(self) -> int:
        """Process id of the fork server."""
        return self._process.pid

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life of the fork server (`time.monotonic`)."""
        return self._beats.last

    def start(self, module: str, settings: Settings) -> Child:
        """Request a process that runs the `main` of a module."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            self.maintain()
            request, process = Request(next(self._numbers), module), ForkedProcess(self)
            try:
                socket.send_fds(self._control, [request.to_bytes()], [theirs.fileno()], socket.MSG_DONTWAIT)
                self._open_requests[request.number] = process
            except OSError as error:
                # Dead, or stuck with a full socket. The child's channel reports EOF, as `theirs` is closed.
                log.warning("fork server not reached", reason=str(error))
                process.mark_lost()
        return Child(process, Channel.to_child(ours, settings))

    def receive(self) -> None:
        """Read which children exist by now; all open requests fail if the fork server is gone."""
        with self._lock:
            for message in self._beats.receive():
                if message == READY:
                    self._is_ready = True
                    continue
                number, pid = map(int, message.split())  # see `Request.answer`
                process = self._open_requests.pop(number, None)
                if process is None:  # reported before, by the child or the fork server
                    continue
                if pid == NO_PROCESS:
                    process.mark_lost()
                else:
                    process.mark_forked(pid)
            if self._beats.has_ended:
                self._fail_open_requests()

    def _fail_open_requests(self) -> None:
        for process in self._open_requests.values():
            process.mark_lost()
        self._open_requests.clear()

    def reap(self, orphan: OrphanedProcess) -> None:
        """Reap a killed process in a later `maintain`, whether or not another caller waits for it."""
        with self._lock:
            self._unreaped.append(orphan)

    def maintain(self) -> None:
        """Replace the fork server if it has died or is stuck, and reap killed processes."""
        with self._lock:
            self.receive()
            self._unreaped = [orphan for orphan in self._unreaped if orphan.poll() is None]
            # Signs of life come only while the fork server starts, so silence of an idle one means nothing.
            is_stuck = bool(self._open_requests or not self._is_ready) and (
                time.monotonic() > max(self._oldest_request(), self.last_sign) + self._start_seconds
            )
            if is_stuck:
                self._process.kill()
                self._process.wait()
                self.receive()
            if self._is_closed or self._process.poll() is None or time.monotonic() < self._no_start_before:
                return
            log.warning("fork server restarted", status=self._process.returncode, was_ready=self._is_ready)
            self._no_start_before = time.monotonic() + RESTART_SECONDS
            # Usually none is open, since the channel has reported EOF. But a child that was just forked may
            # still hold the other end.
            self._fail_open_requests()
            self._control.close()
            self._launch()

    def _oldest_request(self) -> float:
        return min((process.last_sign for process in self._open_requests.values()), default=0.0)

    def close(self) -> None:
        """End the fork server; children continue."""
        with self._lock:
            self._is_closed = True
            self.receive()
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()
