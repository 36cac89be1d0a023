"""Compressed request bodies: gzip (RFC 1952) and Zstandard (RFC 8878)."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol, get_args

from fastapi import Request

from service.errors import FieldError, InvalidRequest, UnsupportedMediaType
from service.specs.upload import Compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Maximum size of a decompressed piece; other requests are served between two of them.
_PIECE_BYTES = 2**18


def declared_compression(request: Request) -> Compression | None:
    """Return the compression in `Content-Encoding`; None if the body is not compressed.

    Raises:
        UnsupportedMediaType: If it is not supported.
    """
    given = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    given = {"x-gzip": "gzip", "identity": ""}.get(given, given)
    for compression in get_args(Compression):
        if given == compression:
            return compression  # type: ignore[no-any-return]
    if given:
        raise UnsupportedMediaType(
            f"The header `Content-Encoding: {given[:100]}` is not supported; send gzip, zstd, or none.",
            headers={"Accept-Encoding": "gzip, zstd"},
        )
    return None


async def decompressed(request: Request) -> AsyncIterator[bytes]:
    """Yield the body of a request in pieces, decompressed as `Content-Encoding` says.

    Raises:
        UnsupportedMediaType: If the content encoding is not supported.
        InvalidRequest: If the body is damaged.
    """
    compression = declared_compression(request)
    if compression is None:
        async for chunk in request.stream():
            yield chunk
        return
    decoder = _DECODERS[compression]()
    head = b""
    try:
        async for chunk in request.stream():
            head = (head + chunk[:4])[:4]
            for piece in decoder.pieces(chunk):
                yield piece
                await asyncio.sleep(0)
    except (zlib.error, zstd.ZstdError):
        if head.startswith(_MAGIC[compression]):
            raise _damaged(compression, f"is damaged {compression}, or other bytes follow it") from None
        raise _damaged(compression, f"is not {compression}") from None
    if not decoder.is_complete:
        raise _damaged(compression, f"ends before the end of its {compression}")


def _damaged(compression: Compression, what: str) -> InvalidRequest:
    detail = f"The header Content-Encoding says {compression}, but the body {what}."
    return InvalidRequest(detail, [FieldError("#", detail)])


class _Decoder(Protocol):
    """Decompresses a body that arrives in chunks.

    Attributes:
        is_complete: Whether the body may end here.
    """

    @property
    def is_complete(self) -> bool: ...

    def pieces(self, chunk: bytes) -> Iterator[bytes]: ...


class _Gzip:
    """Decoder of gzip, which consists of any number of members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.is_complete = True

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        piece = b""
        while chunk or (len(piece) == _PIECE_BYTES and not self._member.eof):
            if self._member.eof:
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            piece = self._member.decompress(chunk, _PIECE_BYTES)
            chunk = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self.is_complete = self._member.eof
            yield piece


class _Zstandard:
    """Decoder of Zstandard, which consists of any number of frames."""

    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor()
        self.is_complete = True

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        while chunk or not (self._frame.eof or self._frame.needs_input):
            if self._frame.eof:
                self._frame = zstd.ZstdDecompressor()
            piece = self._frame.decompress(chunk, _PIECE_BYTES)
            chunk = self._frame.unused_data if self._frame.eof else b""
            self.is_complete = self._frame.eof
            yield piece


_MAGIC: Mapping[Compression, bytes] = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_DECODERS: Mapping[Compression, type[_Decoder]] = {"gzip": _Gzip, "zstd": _Zstandard}
