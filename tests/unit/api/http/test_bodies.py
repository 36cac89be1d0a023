"""Receiving of bodies in memory and in files."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from anyio import CapacityLimiter
from fastapi import Request
from starlette.requests import ClientDisconnect

from service.api.http.bodies import Bodies, BodyFile
from service.errors import ContentTooLarge, StorageFull
from service.processes.channel import MAX_BODY_IN_MEMORY_BYTES, BodyInFile
from service.storage.database import Database
from service.storage.room import Room
from service.storage.spool import Spool

MOST_BYTES = 4 * MAX_BODY_IN_MEMORY_BYTES
TOGETHER_BYTES = 2 * MAX_BODY_IN_MEMORY_BYTES


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """A spool in an empty folder."""
    with Spool(tmp_path) as spool:
        yield spool


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Room without a quota."""
    with closing(Database(f"sqlite:///{tmp_path / 'x.db'}")) as database:
        yield Room(database, tmp_path, None, 0)


def request_with(pieces: Sequence[bytes], *, ends: bool = True) -> Request:
    """Return a request whose body arrives in pieces; its client leaves after them unless it `ends`."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": each, "more_body": True} for each in pieces
    ]
    messages.append({"type": "http.request", "body": b""} if ends else {"type": "http.disconnect"})
    arriving = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(arriving)

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


async def content(body: bytes | BodyInFile) -> bytes:
    """Return the bytes of a body."""
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body.pieces()])


def files(spool_folder: Path) -> list[Path]:
    """Return all files except locks."""
    return [path for path in spool_folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_IN_MEMORY_BYTES, MAX_BODY_IN_MEMORY_BYTES + 1, MOST_BYTES])
@pytest.mark.parametrize("piece", [1000, 300_000])
def test_a_body_arrives(spool: Spool, room: Room, tmp_path: Path, size: int, piece: int) -> None:
    """A body arrives unchanged; it is in memory up to a size, and in a file without a name beyond it."""

    async def use() -> None:
        sent = bytes(range(256)) * (size // 256 + 1)
        pieces = [sent[start : min(size, start + piece)] for start in range(0, size, piece)]
        async with Bodies(MOST_BYTES, TOGETHER_BYTES, spool, room).read(request_with(pieces)) as body:
            assert isinstance(body, bytes) == (size <= MAX_BODY_IN_MEMORY_BYTES)
            assert await content(body) == sent[:size]
            assert len(body) == size
            assert files(tmp_path) == []

    asyncio.run(use())


def test_bodies_for_which_memory_lacks_are_in_files(spool: Spool, room: Room) -> None:
    """Once the memory for bodies is used, further ones are in files; a body that ends frees its memory."""

    async def use() -> None:
        bodies, piece = Bodies(MOST_BYTES, TOGETHER_BYTES, spool, room), bytes(MAX_BODY_IN_MEMORY_BYTES)
        async with bodies.read(request_with([piece])) as one, bodies.read(request_with([piece])) as other:
            assert isinstance(one, bytes)
            assert isinstance(other, bytes)
            async with bodies.read(request_with([b"a"])) as third:
                assert isinstance(third, BodyInFile)
                assert await content(third) == b"a"
        async with bodies.read(request_with([piece])) as body:
            assert isinstance(body, bytes)

    asyncio.run(use())


@pytest.mark.parametrize("size", [1000, MOST_BYTES])
def test_a_body_that_ends_early_leaves_nothing(spool: Spool, room: Room, tmp_path: Path, size: int) -> None:
    """A client that leaves during its body leaves neither files nor used memory."""

    async def use() -> None:
        bodies = Bodies(MOST_BYTES, TOGETHER_BYTES, spool, room)
        for _ in range(TOGETHER_BYTES // 1000 + 1):
            with pytest.raises(ClientDisconnect):
                async with bodies.read(request_with([bytes(size)], ends=False)):
                    pass
            if size > MAX_BODY_IN_MEMORY_BYTES:
                break
        async with bodies.read(request_with([b"a"])) as body:
            assert isinstance(body, bytes)
        assert files(tmp_path) == []

    asyncio.run(use())


def test_a_body_beyond_the_limit_is_refused(spool: Spool, room: Room, tmp_path: Path) -> None:
    """A body that exceeds the limit is refused while it arrives."""

    async def use() -> None:
        pieces = [bytes(MOST_BYTES), b"a"]
        with pytest.raises(ContentTooLarge, match=str(MOST_BYTES)):
            async with Bodies(MOST_BYTES, TOGETHER_BYTES, spool, room).read(request_with(pieces)):
                pass
        with pytest.raises(ContentTooLarge, match="the limit of 10 bytes"):
            async with Bodies(10, TOGETHER_BYTES, spool, room).read(request_with([bytes(11)])):
                pass
        assert files(tmp_path) == []

    asyncio.run(use())


def test_a_disk_that_is_full_is_a_full_storage(room: Room) -> None:
    """A body that the disk has no space for is refused with the reason."""

    async def receive() -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            await BodyFile(file, MOST_BYTES, room, CapacityLimiter(1)).write(b"content")

    with pytest.raises(StorageFull, match="No space left on device"):
        asyncio.run(receive())


class NearlyFull(BytesIO):
    """A file that takes two bytes at once, as an unbuffered file may on a disk that fills up."""

    def write(self, piece: Any) -> int:
        """Write the beginning of a piece."""
        return super().write(piece[:2])


def test_a_piece_is_written_as_a_whole(room: Room) -> None:
    """What a write leaves over is written by the next one."""

    async def receive() -> bytes:
        file = NearlyFull()
        await BodyFile(file, MOST_BYTES, room, CapacityLimiter(1)).write(b"content")
        return file.getvalue()

    assert asyncio.run(receive()) == b"content"
