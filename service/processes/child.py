"""A child process and the parent's end of its channel."""

import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Protocol

from service.processes.channel import Channel

# Time to wait for the exit status after the socket has reported the end of the process.
STATUS_SECONDS = 1.0
# Time to wait for a process to end after SIGKILL.
KILL_SECONDS = 2.0
POLL_SECONDS = 0.002
_LIKELY_CAUSES = {
    "SIGKILL": ", which the system sends when memory runs out",
    "SIGABRT": ", which some libraries raise when they can't allocate memory",
}


class Process(Protocol):
    """An operating-system process that this process can wait for and kill."""

    @property
    def pid(self) -> int | None:
        """The process id; None until the process exists."""

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life during the start (`time.monotonic`)."""

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""

    def kill(self) -> None:
        """Send SIGKILL; no effect on a process that has ended."""


class Child:
    """A child process with a channel.

    A child can also be killed before its process exists: the process finds its channel closed and exits.

    Attributes:
        channel: The parent's end of the channel. It reports EOF when the process ends.
    """

    def __init__(self, process: Process, channel: Channel) -> None:
        self._process = process
        self.channel = channel

    @property
    def pid(self) -> int | None:
        """The process id; None until the process exists."""
        return self._process.pid

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life during the start (`time.monotonic`)."""
        return self._process.last_sign

    @property
    def has_ended(self) -> bool:
        """True if the process has ended."""
        return self._process.poll() is not None

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used; infinite if the system does not tell."""
        try:
            # Fields 14 and 15 of proc(5), counted after the name, which may contain spaces.
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def describe_exit(self) -> str:
        """Describe in a sentence how the process ended, after its channel reported EOF."""
        status = self._wait(STATUS_SECONDS)
        if status is None:
            return "It closed its channel without ending."
        if status >= 0:
            return f"Its process exited with status {status}."
        try:
            name = signal.Signals(-status).name
        except ValueError:  # a real-time signal has no name
            name = f"signal {-status}"
        return f"Its process was killed by {name}{_LIKELY_CAUSES.get(name, '')}."

    def end(self) -> None:
        """Kill the process without waiting for its end."""
        self._process.kill()

    def kill(self) -> None:
        """Kill the process, wait for its end and close the channel.

        A process that does not end within `KILL_SECONDS`, for instance during disk I/O, is left behind; a
        later read of `has_ended` reaps it, or else its starter does.
        """
        self.end()
        self._wait(KILL_SECONDS)
        self.channel.close()

    def join(self, grace_seconds: float) -> None:
        """Wait for a child that was asked to stop; kill it after the grace period."""
        self._wait(grace_seconds)
        self.kill()

    def _wait(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (status := self._process.poll()) is None and self.pid is not None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_SECONDS)
        return status


class OrphanedProcess:
    """A process that this process did not start but adopts, because it is the nearest subreaper.

    Attributes:
        pid: The process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        # A second `waitpid` would fail, and a second SIGKILL could meet a new process with this id.
        self._lock = threading.RLock()

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        with self._lock:
            if self._status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._status = os.waitstatus_to_exitcode(status)
            return self._status

    def kill(self) -> None:
        """Send SIGKILL; no effect on a process that has ended."""
        with self._lock:
            if self.poll() is None:  # not reaped yet, so the id can't belong to another process
                os.kill(self.pid, signal.SIGKILL)
