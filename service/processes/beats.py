"""Signs of life of a starting process, which imports PyTorch for seconds before it serves its channel."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BEAT_SECONDS = 1.0
BEAT = b"beat"


@contextmanager
def sending_beats(connection: socket.socket) -> Iterator[None]:
    """Send a sign of life every second from a thread, which is joined at the end of the block."""
    stopped = threading.Event()

    def beat() -> None:
        with suppress(OSError):  # the receiver is gone
            while not stopped.wait(BEAT_SECONDS):
                connection.send(BEAT)

    thread = threading.Thread(target=beat, name="beats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class BeatReceiver:
    """Receives the signs of life of a process, and other short messages between them.

    Attributes:
        last: When the last sign of life was received (`time.monotonic`).
        has_ended: Whether the process has closed its end.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.last = time.monotonic()
        self.has_ended = False

    def receive(self) -> Iterator[bytes]:
        """Yield the messages that have arrived, except signs of life; never block."""
        while not self.has_ended:
            try:
                message = self._connection.recv(64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            self.last = time.monotonic()
            if not message:
                self.has_ended = True
            elif message != BEAT:
                yield message
