"""Channel between a service process and its child: JSON headers with a body of bytes, over a socket pair.

Format of a message, in network byte order:

    uint32   length of the header
    uint64   length of the body
    bytes    header, a JSON object
    bytes    body, often empty

A message with a small body, or none, is sent by a single write: each wakes the receiver, and a sender that is
killed does not leave it waiting for the rest.

Messages are not pickled: a child processes input of clients, so its parent must not trust what it sends.
"""

import asyncio
import mmap
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from select import POLLIN, poll
from struct import Struct
from typing import IO, Any, Self

import orjson

from service.settings import Settings

_LENGTHS = Struct("!IQ")
_PIECE_BYTES = 2**20
# Most messages are shorter: they are sent and received by one system call.
_SHORT_BYTES = 2**16
# Larger bodies lie in files, so that many of them need little memory.
MAX_BODY_IN_MEMORY_BYTES = 2**20


class BodyInFile:
    """A body of bytes in an open file, which is read piece by piece.

    Args:
        file: The file. The caller closes it.
        size_bytes: Size of the body.
    """

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes

    def __len__(self) -> int:
        return self._size_bytes

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body from its start; a thread reads it."""
        loop = asyncio.get_running_loop()
        for start in range(0, self._size_bytes, _PIECE_BYTES):
            yield await loop.run_in_executor(None, os.pread, self._file.fileno(), _PIECE_BYTES, start)


def pack_header(header: Mapping[str, Any], body: bytes | BodyInFile) -> bytes:
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
        packed_header = pack_header(header, body)
        if len(body) <= _SHORT_BYTES:
            self.connection.sendall(packed_header + body)
        else:
            self.connection.sendall(packed_header)
            self.connection.sendall(body)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Wait for one message."""
        header_bytes, body_bytes = _LENGTHS.unpack(self._read(_LENGTHS.size))
        if body_bytes > _SHORT_BYTES:
            return orjson.loads(self._read(header_bytes)), self._read(body_bytes)
        message = self._read(header_bytes + body_bytes)
        return orjson.loads(message[:header_bytes]), message[header_bytes:]

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
    """One end of a channel in an event loop; the `Channel` that it replaces must not be used any longer.

    Args:
        channel: The channel.
        folder: Folder of unlinked files that hold large bodies.
    """

    def __init__(self, channel: Channel, folder: Path) -> None:
        self._connection = channel.connection
        self._connection.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._folder = folder
        self._ahead = memoryview(b"")  # received, but not read yet

    async def send(self, packed_header: bytes, body: bytes | BodyInFile = b"") -> None:
        """Send one message, whose first part was made by `pack_header`."""
        pieces = [packed_header]
        if isinstance(body, bytes):
            pieces = [packed_header + body] if len(body) <= _SHORT_BYTES else [packed_header, body]
        for piece in pieces:
            await self._loop.sock_sendall(self._connection, piece)
        if isinstance(body, BodyInFile):
            async for piece in body.pieces():
                await self._loop.sock_sendall(self._connection, piece)

    async def receive(self) -> tuple[dict[str, Any], memoryview]:
        """Wait for one message.

        A large body is a map of a file: a client may take long to read it.
        """
        received = memoryview(self._ahead or await self._receive(_SHORT_BYTES))
        self._ahead = received
        if len(received) >= _LENGTHS.size:  # short messages arrive as a whole
            header_bytes, body_bytes = _LENGTHS.unpack_from(received)
            start, stop = _LENGTHS.size + header_bytes, _LENGTHS.size + header_bytes + body_bytes
            if stop <= len(received):
                self._ahead = received[stop:]
                return orjson.loads(received[_LENGTHS.size : start]), received[start:stop]
        header_bytes, body_bytes = _LENGTHS.unpack(await self._read(_LENGTHS.size))
        header = orjson.loads(await self._read(header_bytes))
        if body_bytes <= MAX_BODY_IN_MEMORY_BYTES:
            return header, await self._read(body_bytes)
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
            async for piece in self._pieces(body_bytes):
                await self._loop.run_in_executor(None, file.write, piece)
            return header, memoryview(mmap.mmap(file.fileno(), body_bytes, access=mmap.ACCESS_READ))

    async def _read(self, size: int) -> memoryview:
        return memoryview(b"".join([piece async for piece in self._pieces(size)]))

    async def _receive(self, most_bytes: int) -> bytes:
        received = await self._loop.sock_recv(self._connection, most_bytes)
        if not received:
            raise EOFError
        return received

    async def _pieces(self, size: int) -> AsyncIterator[memoryview]:
        # In pieces, so that other coroutines run in between.
        while size:
            expected = max(_SHORT_BYTES, min(size, _PIECE_BYTES))
            received = memoryview(self._ahead or await self._receive(expected))
            piece, self._ahead = received[:size], received[size:]
            size -= len(piece)
            yield piece
