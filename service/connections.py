"""Connections of clients: uvicorn's HTTP/1.1 protocol with limits of size, time and number.

httptools collects a request head of any size and uvicorn waits for a client forever, so a few clients could
take the memory or the connections of all. Here, each connection is refused as soon as it exceeds a limit,
before the application sees the request. The times are checked by one sweep a second over all connections.
"""

import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httptools
import orjson
import structlog
from ulid import ULID
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service import retry_after
from service.errors import (
    BadRequest,
    ExpectationFailed,
    FitserveError,
    HeadTooLarge,
    MethodNotImplemented,
    RequestTimedOut,
    TargetTooLong,
    Unavailable,
)
from service.runtime.machine import file_limit
from service.settings import Settings

log = structlog.get_logger()

MAX_TARGET_BYTES = 2**15
MAX_HEAD_BYTES = 2**16
MAX_HEADERS = 128
# Requests that a client may send before the first of them is answered (pipelining).
MAX_PIPELINED = 32
# Share of the connections that one address may use.
ADDRESS_SHARE = 0.75
# Time to read and discard what a client sends after its answer: closing earlier resets the connection, and
# the client may lose the answer (RFC 9112, section 9.6).
LINGER_SECONDS = 3.0
_PROBLEM = b"application/problem+json"
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} ")
_ABSOLUTE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_TLS_HANDSHAKE = b"\x16\x03"


@dataclass(frozen=True)
class Limits:
    """Limits of connections; the settings of the same names describe them."""

    max_connections: int
    head_timeout_seconds: float
    body_timeout_seconds: float
    response_timeout_seconds: float
    min_bytes_per_second: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits that the settings and the limit of open files allow."""
        return cls(
            min(settings.max_connections, file_limit() // 2),  # the other half: files, database, children
            settings.head_timeout_seconds,
            settings.body_timeout_seconds,
            settings.response_timeout_seconds,
            settings.min_bytes_per_second,
        )


class Connections:
    """All open connections of a server."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: set[Connection] = set()
        self._by_address: Counter[str] = Counter()
        # Those without a request, the one that has waited for longest first.
        self._waiting: OrderedDict[Connection, None] = OrderedDict()

    @property
    def count(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def add(self, connection: "Connection") -> bool:
        """Add a connection; if there are too many, close the one that has waited longest for a request.

        Returns:
            False if the connection must be refused: all others have a request, or its address has too many.
        """
        self._open.add(connection)
        self._by_address[connection.address] += 1
        if self._by_address[connection.address] > max(1, ADDRESS_SHARE * self.limits.max_connections):
            return self._end_waiting(each for each in self._waiting if each.address == connection.address)
        if len(self._open) > self.limits.max_connections:
            return self._end_waiting(self._waiting)
        return True

    def _end_waiting(self, candidates: Iterable["Connection"]) -> bool:
        connection = next(iter(candidates), None)
        if connection is None:
            return False
        self.remove(connection)  # not only when the loop reports that it is lost
        connection.transport.abort()
        return True

    def remove(self, connection: "Connection") -> None:
        """Remove a connection that is lost."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]
        self.leave_waiting(connection)

    def enter_waiting(self, connection: "Connection") -> None:
        """Mark that a connection waits for a request."""
        self._waiting[connection] = None

    def leave_waiting(self, connection: "Connection") -> None:
        """Mark that a connection has a request, or is lost."""
        self._waiting.pop(connection, None)

    def sweep(self) -> None:
        """End the connections that have exceeded a time limit."""
        now = time.monotonic()
        for connection in [*self._open]:
            connection.check_times(now)


class Window:
    """Time in which a transfer must make progress.

    Args:
        seconds: Length of the window; a transfer of enough bytes starts the next one.
        min_bytes: Bytes to transfer in each window.
    """

    def __init__(self, seconds: float, min_bytes: float) -> None:
        self._seconds = seconds
        self._min_bytes = min_bytes
        self.restart()

    def restart(self, position_bytes: int = 0) -> None:
        """Start a window at a position of the transfer."""
        self._started_at = time.monotonic()
        self._position_bytes = position_bytes

    def is_stalled(self, position_bytes: int, now: float) -> bool:
        """Return whether a whole window has passed without enough bytes; restart it if there were enough."""
        if now - self._started_at < self._seconds:
            return False
        if position_bytes - self._position_bytes < self._min_bytes:
            return True
        self.restart(position_bytes)
        return False


class Connection(HttpToolsProtocol):
    """One connection.

    It waits for a head, then receives a body, then waits for the response; a client that pipelines requests
    may be ahead of their responses.

    Attributes:
        address: Address of the client, without its port.
    """

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections
        limits = self._limits = connections.limits
        self.address = ""
        self._running_cycle: Any = None
        self._receives_body = False
        self._received_bytes = 0
        # Bytes received since a head was complete or a piece of a body arrived.
        self._unused_bytes = 0
        self._head_began_at: float | None = time.monotonic()
        self._discards = False
        self._ends_at = math.inf
        rate = limits.min_bytes_per_second
        self._body_window = Window(limits.body_timeout_seconds, limits.body_timeout_seconds * rate)
        self._response_window = Window(
            limits.response_timeout_seconds, limits.response_timeout_seconds * rate
        )

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if self._connections.add(self):
            self._connections.enter_waiting(self)
        else:
            seconds = retry_after.CONNECTIONS_SECONDS
            self._refuse(Unavailable("Too many connections are open.", retry_after_seconds=seconds))
            transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running_cycle = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        if self._running_cycle is not None:  # uvicorn informs only the last of pipelined requests
            self._running_cycle.disconnected = True
            self._running_cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._discards:
            return
        if self._head_began_at is None and not self._receives_body:
            self._head_began_at = time.monotonic()
        self._received_bytes += len(data)
        self._unused_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(_problem(error, data))
        else:
            if self._unused_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge(f"The head exceeds {MAX_HEAD_BYTES} bytes."))

    def _parse(self, data: bytes) -> None:
        """Parse data; ignore `Upgrade`, since no other protocol is offered (RFC 9110, section 7.8).

        httptools skips the body of a request with `Upgrade`, which Java's client sends by default, so such a
        request is parsed again without this header.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            (offset,) = upgrade.args
            version = self.parser.get_http_version().encode()
            start = self.parser.get_method() + b" " + self.url + b" HTTP/" + version + b"\r\n"
            lines = [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self._parse(start + b"".join(lines) + b"\r\n" + data[offset:])

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise TargetTooLong(f"The path and the query exceed {MAX_TARGET_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receives_body:
            return  # a trailer
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise HeadTooLarge(f"The request has more than {MAX_HEADERS} headers.")
        if name.lower() == b"expect" and not self.expect_100_continue:
            raise ExpectationFailed

    def on_headers_complete(self) -> None:
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            raise HeadTooLarge(f"The head exceeds {MAX_HEAD_BYTES} bytes.")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadRequest(f"More than {MAX_PIPELINED} requests were sent before the first answer.")
        if self.parser.get_method() == b"CONNECT":
            raise MethodNotImplemented
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and b",".join(codings).strip().lower() != b"chunked":
            raise BadRequest("The only `Transfer-Encoding` that is supported is `chunked`.")
        if self.parser.should_upgrade():
            return
        self._take_authority_as_host()
        super().on_headers_complete()
        self._connections.leave_waiting(self)
        self._head_began_at = None
        self._receives_body = True
        self._unused_bytes = 0
        self._body_window.restart(self._received_bytes)

    def _take_authority_as_host(self) -> None:
        """Replace `Host` by the authority of a target in absolute form (RFC 9112, section 3.2.2)."""
        if absolute := _ABSOLUTE_FORM.match(self.url):
            self.headers[:] = [
                (name, absolute[1] if name == b"host" else value) for name, value in self.headers
            ]

    def on_body(self, body: bytes) -> None:
        self._unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._receives_body = False
        self._unused_bytes = 0
        if self.cycle.response_complete:  # before the whole body had arrived
            self._ends_at = math.inf
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self._connections.enter_waiting(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._response_window.restart(-_unsent_bytes(self.transport))
        elif self._receives_body:  # more of a body that was not needed
            self._ends_at = time.monotonic() + LINGER_SECONDS
        elif self.cycle.response_complete:
            if self._head_began_at is not None:  # sent ahead, so its client has waited for the response
                self._head_began_at = time.monotonic()
            self._connections.enter_waiting(self)

    def timeout_keep_alive_handler(self) -> None:
        self._response_window.restart(-_unsent_bytes(self.transport))
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        self._response_window.restart(-_unsent_bytes(self.transport))
        super().pause_writing()

    def check_times(self, now: float) -> None:
        """End the connection if a time limit has passed."""
        if now > self._ends_at:
            self.transport.abort()
        elif self.flow.write_paused or self.transport.is_closing():
            if self._response_window.is_stalled(-_unsent_bytes(self.transport), now):
                self._log("client does not read its response")
                self.transport.abort()
        elif self._discards:
            return
        elif self._receives_body:
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it is not the client's turn
                self._body_window.restart(self._received_bytes)
            elif self._body_window.is_stalled(self._received_bytes, now):
                self._refuse(RequestTimedOut("The body stopped arriving, or arrives too slowly."))
        elif self._head_is_late(now):
            if self._received_bytes:
                self._refuse(RequestTimedOut("The head of the request did not arrive in time."))
            else:
                self.transport.close()

    def _head_is_late(self, now: float) -> bool:
        if self._head_began_at is None or (self.cycle is not None and not self.cycle.response_complete):
            return False
        return now - self._head_began_at > self._limits.head_timeout_seconds

    def _refuse(self, error: FitserveError) -> None:
        """Answer the request that is being received, and discard what else its client sends."""
        self._log("request refused", status=error.status, reason=error.detail)
        self._discards = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._receives_body:
                cycle.keep_alive = False  # earlier requests are answered, then the connection is closed
                return
            cycle.disconnected = True  # the application learns that the body is incomplete
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        elif self._receives_body:  # already answered
            self.transport.close()
            return
        self.transport.write(self._response(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._ends_at = time.monotonic() + LINGER_SECONDS

    def _response(self, error: FitserveError) -> bytes:
        path, request_id = (self.scope or {}).get("path", "/"), str(ULID())
        document = {
            **error.document(quote(path)),
            "type": self.root_path + error.path(),
            "request_id": request_id,
        }
        body = orjson.dumps(document)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", _PROBLEM),
            (b"content-length", str(len(body)).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        if error.retry_after_seconds is not None:
            headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        return STATUS_LINE[error.status] + lines + b"\r\n" + body

    def _log(self, event: str, **details: object) -> None:
        path = (self.scope or {}).get("path")
        log.info(event, client=self.address, path=path, **details)


def _problem(error: httptools.HttpParserError, data: bytes) -> FitserveError:
    """Return the error to answer for what the parser, or a callback of it, has refused."""
    if isinstance(error.__context__, FitserveError):
        return error.__context__
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _METHOD.match(data):
        return MethodNotImplemented()
    if data.startswith(_TLS_HANDSHAKE):
        return BadRequest("The client uses TLS, but the service speaks plain HTTP: use an `http://` URL.")
    return BadRequest(f"The request is not valid HTTP/1.1: {error}.")


def _unsent_bytes(transport: Any) -> int:
    return int(transport.get_write_buffer_size())
