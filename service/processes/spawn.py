"""Start each child by exec as a new interpreter, on systems without a safe fork."""

import socket
import subprocess
import sys

from service.processes.beats import BeatReceiver
from service.processes.channel import Channel
from service.processes.child import Child
from service.settings import Settings


class SpawnedProcess:
    """A process started by exec.

    Attributes:
        pid: The process id.
    """

    def __init__(self, module: str, channel_end: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = [channel_end.fileno(), theirs.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.processes.spawn_main", module, *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in a terminal signals the whole process group; children wait for orders instead.
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._connection = ours
        self._beats = BeatReceiver(ours)

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life during the start (`time.monotonic`)."""
        for _ in self._beats.receive():
            pass
        return self._beats.last

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        status = self._process.poll()
        if status is not None:
            self._connection.close()
        return status

    def kill(self) -> None:
        """Send SIGKILL; no effect on a process that has ended."""
        self._process.kill()


class Spawner:
    """Starts each child as a new interpreter."""

    def start(self, module: str, settings: Settings) -> Child:
        """Start a process that runs the `main` of a module."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = SpawnedProcess(module, theirs)
        return Child(process, Channel.to_child(ours, settings))

    def maintain(self) -> None:
        """Do nothing: the spawner has no process of its own."""

    def close(self) -> None:
        """Do nothing: the spawner has no process of its own."""
