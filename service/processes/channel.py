"""How a service process and its children talk: JSON headers with a body of bytes, over a pair of sockets.

A message begins with the lengths of its header and its body. One without a body is a single write: whoever
sends it can't be stopped in its middle, with the other side waiting for the rest.

Never pickle: a child reads what clients sent, and its parent must not have to trust it.
"""

import asyncio
import socket
from collections.abc import Mapping
from select import POLLIN, poll
from struct import Struct
from typing import Any, Self

import orjson

from service.settings import Settings

_LENGTHS = Struct("!IQ")
_PIECE_BYTES = 2**20


def packed(header: Mapping[str, Any], body: bytes) -> bytes:
    """All of a message but its body.

    Raises:
        TypeError: what is in the header can't be told as JSON.
    """
    text = orjson.dumps(header)
    return _LENGTHS.pack(len(text), len(body)) + text


class Channel:
    """One end of a pair. A message is a JSON object and, with it, a body (often empty).

    Receiving raises EOFError once the other side is gone, whatever ended it, and OSError when it was gone
    before it had read what was sent to it. Sending to one that is gone raises OSError.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    @classmethod
    def to_child(cls, connection: socket.socket, settings: Settings) -> Self:
        """Return the parent's end of a channel, after the settings were sent as its first message.

        Settings travel over the socket since a database URL may hold a password, which a command line or
        an environment would show to others.
        """
        channel = cls(connection)
        channel.send({"settings": settings.model_dump(mode="json")})
        return channel

    def receive_settings(self) -> Settings:
        """Receive the first message that a child gets.

        Raises:
            SystemExit: The parent no longer wants the child.
        """
        try:
            header, _ = self.receive()
        except (EOFError, OSError):
            raise SystemExit(0) from None
        return Settings(**header["settings"])

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Send one message."""
        self.connection.sendall(packed(header, body))
        if body:
            self.connection.sendall(body)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Wait for one message."""
        header_bytes, body_bytes = _LENGTHS.unpack(self._read(_LENGTHS.size))
        return orjson.loads(self._read(header_bytes)), self._read(body_bytes)

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self.connection.recv(size, socket.MSG_WAITALL)
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def ready(self, timeout_seconds: float) -> bool:
        """Whether a message, or the end, comes within the time."""
        ready = poll()  # unlike `select`, it takes descriptors of any number
        ready.register(self.connection, POLLIN)
        return bool(ready.poll(1000 * timeout_seconds))

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


class AsyncChannel:
    """The same end of a pair, in an event loop: from now on it alone sends and receives there."""

    def __init__(self, channel: Channel) -> None:
        self._connection = channel.connection
        self._connection.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def send(self, message: bytes, body: bytes = b"") -> None:
        """Send one message, of which all but the body is `packed`."""
        await self._loop.sock_sendall(self._connection, message)
        if body:
            await self._loop.sock_sendall(self._connection, body)

    async def receive(self) -> tuple[dict[str, Any], memoryview]:
        """Wait for one message."""
        header_bytes, body_bytes = _LENGTHS.unpack(await self._read(_LENGTHS.size))
        return orjson.loads(await self._read(header_bytes)), await self._read(body_bytes)

    async def _read(self, size: int) -> memoryview:
        # Piece by piece, and never copied: the loop has other things to do meanwhile.
        content = bytearray()
        while len(content) < size:
            piece = await self._loop.sock_recv(self._connection, min(size - len(content), _PIECE_BYTES))
            if not piece:
                raise EOFError
            content += piece
        return memoryview(content)
