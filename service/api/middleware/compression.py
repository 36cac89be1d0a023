"""Compression of answers with gzip (RFC 1952) or Zstandard (RFC 8878), as the client accepts."""

import sys
from collections.abc import Mapping
from functools import cached_property

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.http.negotiation import best_encoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Smaller answers fit a packet anyhow.
_LEAST_BYTES = 1024
_GZIP_LEVEL = 6  # zlib's default


class Compression:
    """Middleware that compresses answers, except downloads, which have ranges, and event streams.

    A static file is compressed as a whole only: it then has no ranges, and a weak ETag.

    The strong ETag of a resource is that of its record, the same for each coding; `Vary` keeps caches from
    mixing them up.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        coding = None
        if scope["type"] == "http":
            accepted = Headers(scope=scope).getlist("accept-encoding")
            coding = best_encoding(accepted, [*_RESPONDERS])
        app = self._app if coding is None else _RESPONDERS[coding](self._app, _LEAST_BYTES, _GZIP_LEVEL)
        await app(scope, receive, send)


class _Gzip(GZipResponder):
    """Starlette's gzip, which leaves downloads, and parts of any file, as they are."""

    _is_kept = False

    async def send_with_compression(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            is_part = message["status"] in (206, 416)
            self._is_kept = "accept-ranges" in headers and (is_part or "content-disposition" in headers)
            if "accept-ranges" in headers and not self._is_kept:  # a static file
                del headers["accept-ranges"]  # its bytes are others now
                headers["etag"] = f"W/{headers['etag']}"
                message["headers"] = headers.raw
        await (self.send if self._is_kept else super().send_with_compression)(message)


class _Zstandard(_Gzip):
    """The same, with one frame of Zstandard."""

    content_encoding = "zstd"

    @cached_property
    def _frame(self) -> zstd.ZstdCompressor:
        return zstd.ZstdCompressor()

    def _compress_body(self, body: bytes, more_body: bool) -> bytes:
        frame = self._frame
        return frame.compress(body, frame.FLUSH_BLOCK if more_body else frame.FLUSH_FRAME)


_RESPONDERS: Mapping[str, type[GZipResponder]] = {"zstd": _Zstandard, "gzip": _Gzip}
