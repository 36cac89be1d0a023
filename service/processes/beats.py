"""Signs of life of a process that starts: importing PyTorch may take long, and no channel is served yet."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BEAT_SECONDS = 1.0
BEAT = b"beat"


@contextmanager
def beating(connection: socket.socket) -> Iterator[None]:
    """Send a sign of life every second from a thread, which has ended when the block is left."""
    stopped = threading.Event()

    def beat() -> None:
        with suppress(OSError):  # nobody listens any more
            while not stopped.wait(BEAT_SECONDS):
                connection.send(BEAT)

    thread = threading.Thread(target=beat, name="beats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


class Beats:
    """The receiving side.

    Attributes:
        last: When the last sign of life was received (`time.monotonic`).
        has_ended: Whether the other side is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.last = time.monotonic()
        self.has_ended = False

    def receive(self) -> Iterator[bytes]:
        """Yield the messages that have arrived and are no signs of life; never block."""
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
