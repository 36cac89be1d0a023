"""How a service process and its children talk: JSON headers with a body of bytes, over a pipe.

A header ends with a byte that tells whether a body follows. A message without one is a single write: whoever
sends it can't be stopped in its middle, with the other side waiting for the rest.

Never pickle: a child reads what clients sent, and its parent must not have to trust it.
"""

from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import orjson

from service.settings import Settings

_ALONE, _WITH_BODY = b".", b"+"


class Channel:
    """One end of a pipe. A message is a JSON object and, with it, a body (often empty).

    Receiving raises EOFError once the other side is gone, whatever ended it.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Send one message."""
        self.connection.send_bytes(orjson.dumps(header) + (_WITH_BODY if body else _ALONE))
        if body:
            self.connection.send_bytes(body)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Wait for one message."""
        message = self.connection.recv_bytes()
        body = self.connection.recv_bytes() if message.endswith(_WITH_BODY) else b""
        return orjson.loads(message[:-1]), body

    def ready(self, timeout_seconds: float) -> bool:
        """Whether a message, or the end, comes within the time."""
        return self.connection.poll(timeout_seconds)

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


def join_parent(argv: list[str]) -> tuple[Channel, Settings, dict[str, Any]]:
    """A child's first act: open the pipe named on its command line, read settings and options from it.

    Settings come over the pipe since a database URL may hold a password, which a command line or an
    environment would show to others.
    """
    channel = Channel(Connection(int(argv[1])))
    header, _ = channel.receive()
    return channel, Settings(**header["settings"]), header["options"]
