"""A child process of ours: started anew (never forked), with a channel to talk over."""

import signal
import socket
import subprocess
import sys
from contextlib import suppress

from service.processes.channel import Channel
from service.settings import Settings

# A new process imports torch before it says its first word.
START_SECONDS = 60.0
# Between the end of a process's socket and its own.
FATE_SECONDS = 1.0
# Between SIGKILL and a process's end.
END_SECONDS = 2.0
# What a signal most likely means.
_HINTS = {
    "SIGKILL": ", as the system does when memory runs out",
    "SIGABRT": ", as libraries may do that get no more memory",
}


class Child:
    """Runs a module in a process of its own; its `main` begins with `join_parent`.

    Attributes:
        channel: this side of the pair of sockets. It ends when the process does.
        pid: the process's id.
    """

    def __init__(self, module: str, settings: Settings) -> None:
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.processes.child_main", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # Ctrl-C in a terminal reaches the whole group; children wait for our word instead.
            start_new_session=True,
        )
        theirs.close()
        self.pid = self._process.pid
        self.channel = Channel(ours)
        self.channel.send({"settings": settings.model_dump(mode="json")})

    def fate(self) -> str:
        """How a process has ended whose socket has, as a sentence."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(FATE_SECONDS)
        status = self._process.poll()
        if status is None:
            return "It no longer spoke."
        if status >= 0:
            return f"Its process ended with status {status}."
        name = signal.Signals(-status).name
        return f"Its process was ended by {name}{_HINTS.get(name, '')}."

    def end(self) -> None:
        """Let the process end now, without waiting for it."""
        self._process.kill()

    @property
    def has_ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the process now and collect it.

        One that the system doesn't let go of, as while it waits for a disk, is collected when a further one
        is started after its end: `subprocess` does so.
        """
        self.end()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self.channel.close()

    def join(self, grace_seconds: float) -> None:
        """Wait for a child that was asked to stop; end it when the time is over."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        self.kill()
