"""Receiving of request bodies: in memory if they are small, otherwise in files."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from service import retry_after
from service.api.http.content_encoding import decompressed
from service.errors import ContentTooLarge
from service.file_errors import unavailable
from service.processes.channel import MAX_BODY_IN_MEMORY_BYTES, BodyInFile
from service.storage.room import Room
from service.storage.spool import Spool

# Threads that write bodies, apart from those of other requests, which a slow disk must not delay.
_WRITERS = 8


class BodyFile:
    """File of a body, written by threads.

    Args:
        file: The file.
        most_bytes: Maximum size.
        room: Room on the disk.
        writers: Limits the number of threads.
    """

    def __init__(self, file: IO[bytes], most_bytes: int, room: Room, writers: CapacityLimiter) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._room = room
        self._writers = writers
        self._bytes = 0

    async def write(self, piece: bytes | bytearray) -> None:
        """Append a piece.

        Raises:
            ContentTooLarge: If the file exceeds the limit.
            StorageFull: If the disk has no room for it.
            Unavailable: If it can't be written.
        """
        check_size(self._bytes + len(piece), self._most_bytes)
        self._room.check_disk(len(piece))
        self._bytes += len(piece)
        with _reporting_disk_errors():
            await to_thread.run_sync(_write_all, self._file, piece, limiter=self._writers)

    def body(self) -> BodyInFile:
        """Return what was written; it can be read until the file is closed."""
        return BodyInFile(self._file, self._bytes)


class Bodies:
    """Receives JSON bodies; a large one, or one for which memory is lacking, is written to a file.

    A body in memory counts from its first byte until its request has been processed.

    Args:
        most_bytes: Maximum size of a body.
        most_bytes_together: Maximum total size of the bodies in memory.
        spool: Place for the files, which have no name, so that none is left behind.
        room: Room on the disk.
    """

    def __init__(self, most_bytes: int, most_bytes_together: int, spool: Spool, room: Room) -> None:
        self._most_bytes = most_bytes
        self._most_bytes_together = most_bytes_together
        self._spool = spool
        self._room = room
        self._bytes = 0
        self._writers = CapacityLimiter(_WRITERS)

    @contextmanager
    def open_file(self, path: Path, most_bytes: int) -> Iterator[BodyFile]:
        """Create a file for a body, which is closed at the end of the context.

        Raises:
            Unavailable: If it can't be created.
        """
        with _reporting_disk_errors():
            file = path.open("wb+", buffering=0)
        with file:
            yield BodyFile(file, most_bytes, self._room, self._writers)

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes | BodyInFile]:
        """Read the body of a request, decompressed.

        Raises:
            ContentTooLarge: If it exceeds the limit, as soon as this is known.
            ClientDisconnect: If it ends early.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdigit():
            check_size(int(declared), self._most_bytes)
        body, file = bytearray(), None
        with ExitStack() as stack:
            stack.callback(lambda: self._release(body))
            async for piece in decompressed(request):
                if file is None and not self._fits(len(body) + len(piece), len(piece)):
                    path = self._spool.new_path()
                    file = stack.enter_context(self.open_file(path, self._most_bytes))
                    path.unlink()
                    await file.write(body)
                    self._release(body)
                if file is not None:
                    await file.write(piece)
                else:
                    check_size(len(body) + len(piece), self._most_bytes)
                    body += piece
                    self._bytes += len(piece)
            yield bytes(body) if file is None else file.body()

    async def read_small(self, request: Request) -> bytes:
        """Read a body that needs to be in memory.

        Raises:
            ContentTooLarge: If it exceeds 1 MiB.
            ClientDisconnect: If it ends early.
        """
        async with self.read(request) as body:
            check_size(len(body), MAX_BODY_IN_MEMORY_BYTES)
            return body if isinstance(body, bytes) else b"".join([piece async for piece in body.pieces()])

    def _fits(self, size_bytes: int, more_bytes: int) -> bool:
        has_room = self._bytes + more_bytes <= self._most_bytes_together
        return size_bytes <= MAX_BODY_IN_MEMORY_BYTES and has_room

    def _release(self, body: bytearray) -> None:
        self._bytes -= len(body)
        body.clear()


def _write_all(file: IO[bytes], piece: bytes | bytearray) -> None:
    """Write to an unbuffered file: a disk that fills up accepts a part first, and fails the next write."""
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def _reporting_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unavailable(error, "The body can't be written", retry_after.SPOOL_SECONDS) from error


def check_size(size_bytes: int, most_bytes: int) -> None:
    """Check the size of a body.

    Raises:
        ContentTooLarge: If it exceeds the limit.
    """
    if size_bytes > most_bytes:
        raise ContentTooLarge(f"The body exceeds the limit of {most_bytes} bytes.")
