"""Channel between a service process and its child: JSON headers with a body of bytes, over a socket pair.

Format of a message, in network byte order:

    uint32   length of the header
    uint64   length of the body
    bytes    header, a JSON object
    bytes    body, often empty

A message without a body is sent by a single write, so that a sender that is killed does not leave the
receiver waiting for the rest.

Messages are not pickled: a child processes input of clients, so its parent must not trust what it sends.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from select import POLLIN, poll
from struct import Struct
from typing import Any, Self

import orjson

from service.settings import Settings

_LENGTHS = Struct("!IQ")
_PIECE_BYTES = 2**20


def pack_header(header: Mapping[str, Any], body: bytes) -> bytes:
    """Return a message up to its body, of which only the length is used.

    Raises:
        TypeError: The header can't be written as JSON.
    """
    text = orjson.dumps(header)
    return _LENGTHS.pack(len(text), len(body)) + text


class Channel:
    """One end of a channel.

    Once the other process is gone, sending raises OSError. Receiving raises EOFError, or OSError if the
    process was gone before it had read all that was sent to it.

    Attributes:
        connection: The socket of this end.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    @classmethod
    def to_child(cls, connection: socket.socket, settings: Settings) -> Self:
        """Create the parent's end of a channel, and send the settings as the first message.

        The command line or the environment would show other users a password in the database URL.
        """
        channel = cls(connection)
        with suppress(OSError):  # the child is gone, or will never exist: receiving reports it
            channel.send({"settings": settings.model_dump(mode="json")})
        return channel

    def receive_settings(self) -> Settings:
        """Receive the settings, which are a child's first message.

        Raises:
            SystemExit: The parent has closed the channel: it no longer needs the child.
        """
        try:
            header, _ = self.receive()
        except (EOFError, OSError):
            raise SystemExit(0) from None
        return Settings(**header["settings"])

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Send one message."""
        self.connection.sendall(pack_header(header, body))
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
        """Wait for a message or the end of the channel; return False after the timeout."""
        ready = poll()  # unlike `select`, supports descriptors above 1023
        ready.register(self.connection, POLLIN)
        return bool(ready.poll(1000 * timeout_seconds))

    def wait_until_closed(self) -> None:
        """Wait until the other side is gone, without receiving what it has sent."""
        hangup = poll()
        hangup.register(self.connection, 0)  # the hang-up is always reported
        hangup.poll()

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


class AsyncChannel:
    """One end of a channel in an event loop; the `Channel` that it replaces must not be used any longer."""

    def __init__(self, channel: Channel) -> None:
        self._connection = channel.connection
        self._connection.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def send(self, packed_header: bytes, body: bytes = b"") -> None:
        """Send one message, whose first part was made by `pack_header`."""
        await self._loop.sock_sendall(self._connection, packed_header)
        if body:
            await self._loop.sock_sendall(self._connection, body)

    async def receive(self) -> tuple[dict[str, Any], memoryview]:
        """Wait for one message."""
        header_bytes, body_bytes = _LENGTHS.unpack(await self._read(_LENGTHS.size))
        return orjson.loads(await self._read(header_bytes)), await self._read(body_bytes)

    async def _read(self, size: int) -> memoryview:
        # In pieces, so that other coroutines run in between; without a copy at the end.
        content = bytearray()
        while len(content) < size:
            piece = await self._loop.sock_recv(self._connection, min(size - len(content), _PIECE_BYTES))
            if not piece:
                raise EOFError
            content += piece
        return memoryview(content)
