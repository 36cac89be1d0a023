"""Limits of connections, on a real server with an application that counts the bytes of bodies."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import uvicorn

from service.connections import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_PIPELINED,
    MAX_TARGET_BYTES,
    Connection,
    Connections,
    Limits,
)
from tests.support.server import until

SECONDS = 0.4
LIMITS = Limits(
    max_connections=8,
    head_timeout_seconds=SECONDS,
    body_timeout_seconds=SECONDS,
    response_timeout_seconds=SECONDS,
    min_bytes_per_second=1000,
)
PATIENCE_SECONDS = 20.0
LARGE_BYTES = 20_000_000
CLOSE = b"Connection: close\r\n"
HOST = b"Host: x\r\n"
# A body, of which a part is missing.
LENGTH = b"Content-Length: 100000\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class CountingServer(uvicorn.Server):
    """A server that counts the bytes of each body.

    `/early` answers without reading it, `/large` answers many bytes, and `/endless` nothing.

    Attributes:
        connections: Its connections.
        disconnects: Number of requests whose application was told that the client is gone.
        endless: Number of requests for `/endless`.
        ended: Number of those whose client has left.
        address: Its address.
    """

    def __init__(self, loop: str) -> None:
        self.connections = Connections(LIMITS)
        self.disconnects, self.endless, self.ended = 0, 0, 0
        http: Any = partial(Connection, self.connections)
        config = uvicorn.Config(
            self.application,
            interface="asgi3",
            http=http,
            ws="none",
            loop=loop,
            log_level="critical",
            timeout_keep_alive=1,
        )
        super().__init__(config)
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()
        self._thread = threading.Thread(target=self.run, kwargs={"sockets": [listening]})
        self._thread.start()
        until(lambda: self.started)

    async def on_tick(self, counter: int) -> bool:
        self.connections.sweep()
        return await super().on_tick(counter)

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})
            return
        size, more = 0, scope["path"] != "/early"
        self.endless += scope["path"] == "/endless"
        while scope["path"] == "/endless" and (await receive())["type"] != "http.disconnect":
            pass
        self.ended += scope["path"] == "/endless"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            size, more = size + len(message["body"]), message["more_body"]
        body = b"x" * LARGE_BYTES if scope["path"] == "/large" else str(size).encode()
        if scope["path"] == "/host":
            body = dict(scope["headers"])[b"host"]
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def stop(self) -> None:
        """Stop, and wait for the end."""
        self.should_exit = True
        self._thread.join()

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(self.address, PATIENCE_SECONDS)

    def converse(self, *pieces: bytes) -> bytes:
        """Send pieces, and return everything that comes back until the server closes the connection."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            return received(client)


def received(client: socket.socket) -> bytes:
    """Return everything that is sent until the connection is closed."""
    parts = []
    while part := client.recv(2**20):
        parts.append(part)
    return b"".join(parts)


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of responses that follow each other."""
    return [int(line.split()[1]) for line in answers.split(b"\r\n") if b"HTTP/1.1 " in line]


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[CountingServer]:
    """A server on each type of event loop."""
    server = CountingServer(request.param)
    yield server
    server.stop()


REFUSED = {
    "a header that never ends": (431, b"GET / HTTP/1.1\r\nX: ", b"a" * LARGE_BYTES),
    "a large header": (431, b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n"),
    "many headers": (431, b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * (MAX_HEADERS + 1) + b"\r\n"),
    "endless empty lines": (431, b"\r\n" * MAX_HEAD_BYTES),
    "a long target": (414, b"GET /" + b"a" * MAX_TARGET_BYTES + b" HTTP/1.1\r\n\r\n"),
    "an unknown method": (501, b"BREW / HTTP/1.1\r\n\r\n"),
    "a tunnel": (501, b"CONNECT a:80 HTTP/1.1\r\n\r\n"),
    "an unknown expectation": (417, b"POST / HTTP/1.1\r\nExpect: dance\r\n" + LENGTH + b"\r\n"),
    "bytes that are no text": (400, b"\x00\x01\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01"),
    "two lengths": (400, b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "two framings": (400, b"POST / HTTP/1.1\r\nContent-Length: 1\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    "an unknown coding": (400, b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "two codings": (400, b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    "chunks twice": (400, b"POST / HTTP/1.1\r\n" + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n"),
    "a wrong chunk": (400, b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\nzz\r\n"),
    "an endless trailer": (431, b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n0\r\nX: ", b"a" * LARGE_BYTES),
    "an endless chunk extension": (431, b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n1;", b"a" * LARGE_BYTES),
    "a head that stalls": (408, b"GET / HTTP/1.1\r\nHos"),
    "a body that stalls": (408, b"POST / HTTP/1.1\r\n" + LENGTH + b"\r\nabc"),
    "a body that never starts": (408, b"POST / HTTP/1.1\r\n" + LENGTH + b"\r\n"),
    "a chunked body that stalls": (408, b"POST / HTTP/1.1\r\n" + CHUNKED + b"\r\n9\r\nabc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_exceeds_a_limit_is_refused(server: CountingServer, name: str) -> None:
    """A request that exceeds a limit is answered with a problem document, and its connection is closed."""
    status, *pieces = REFUSED[name]
    answer = server.converse(*pieces)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [status]
    assert b"content-type: application/problem+json\r\n" in head + b"\r\n"
    assert b"connection: close" in head
    assert json.loads(body)["status"] == status


def test_a_body_that_trickles_is_refused(server: CountingServer) -> None:
    """A body that arrives slower than the minimum rate is refused, although it never pauses for long."""
    with server.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + LENGTH + b"\r\n")
        start, client_is_open = time.monotonic(), True
        while client_is_open and time.monotonic() < start + PATIENCE_SECONDS:
            try:
                client.sendall(b"a")
            except ConnectionError:
                client_is_open = False
            time.sleep(SECONDS / 10)
    assert not client_is_open


def test_the_application_learns_of_an_incomplete_body(server: CountingServer) -> None:
    """The application of a request whose body is refused is told that the client is gone."""
    before = server.disconnects
    server.converse(b"POST / HTTP/1.1\r\n" + LENGTH + b"\r\nabc")
    until(lambda: server.disconnects == before + 1)


def test_silent_connections_are_closed_without_an_answer(server: CountingServer) -> None:
    """A connection without a request is closed silently, whether or not it had one before."""
    assert server.converse() == b""
    assert statuses(server.converse(b"GET / HTTP/1.1\r\n\r\n")) == [200]


def test_a_large_body_at_a_sufficient_rate_is_received(server: CountingServer) -> None:
    """A body may take longer than the time limit while it makes progress."""
    size, pieces = 6000, 12
    with server.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\n" + CLOSE + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(pieces):
            client.sendall(b"a" * (size // pieces))
            time.sleep(SECONDS / 4)
        assert received(client).endswith(b"\r\n\r\n%d" % size)


@pytest.mark.parametrize("body", [b"", b"abcd"])
def test_an_upgrade_is_ignored(server: CountingServer, body: bytes) -> None:
    """A request that offers another protocol is answered as HTTP/1.1, with its body."""
    head = b"POST / HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n"
    assert server.converse(head % len(body) + body).endswith(b"\r\n\r\n%d" % len(body))


def test_trailers_are_no_headers(server: CountingServer) -> None:
    """Trailers of a chunked body are ignored."""
    request = b"POST / HTTP/1.1\r\n" + CLOSE + CHUNKED + b"\r\n1\r\na\r\n0\r\nX: y\r\n\r\n"
    assert server.converse(request).endswith(b"\r\n\r\n1")


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"/host", b"a"),
        (b"//b/../host", b"a"),
        (b"http://b/host", b"b"),
        (b"HTTP://b:80/host?x", b"b:80"),
        (b"http://[::1]:8000/host", b"[::1]:8000"),
        (b"http://a@b/host", b"a@b"),
    ],
)
def test_an_absolute_target_names_the_host(server: CountingServer, target: bytes, host: bytes) -> None:
    """The authority of a target in absolute form replaces `Host`."""
    answer = server.converse(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"\r\n")
    assert answer.endswith(b"\r\n\r\n" + (b"0" if b".." in target else host))


def test_pipelined_requests_are_answered_in_order(server: CountingServer) -> None:
    """Pipelined requests are answered in order, and the answers precede the end of the connection."""
    few = b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(5))
    assert statuses(server.converse(few + b"BREW / \r\n")) == [200] * 5
    many = b"GET / HTTP/1.1\r\n\r\n" * (3 * MAX_PIPELINED)
    assert statuses(server.converse(many)) == [200] * (MAX_PIPELINED + 1)


def test_a_pipelining_client_that_leaves_is_noticed(server: CountingServer) -> None:
    """The application of the first of pipelined requests learns that its client has left."""
    before = server.endless, server.ended
    with server.connect() as client:
        client.sendall(b"GET /endless HTTP/1.1\r\n\r\n" * 3)
        until(lambda: server.endless == before[0] + 1)
    until(lambda: server.ended == before[1] + 1)


def test_an_early_answer_ends_the_reading_of_a_body(server: CountingServer) -> None:
    """After an early answer, a body that is completed keeps the connection; an endless one ends it."""
    head = b"POST /early HTTP/1.1\r\nContent-Length: 6\r\n\r\n"
    assert statuses(server.converse(head + b"abc", b"def" + b"GET / HTTP/1.1\r\n\r\n")) == [200, 200]
    assert statuses(server.converse(b"POST /early HTTP/1.1\r\n" + LENGTH + b"\r\nabc")) == [200]


def test_a_client_that_does_not_read_is_cut_off(server: CountingServer) -> None:
    """The connection of a client that stops reading a response is closed."""
    with server.connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert client.recv(1)
        until(lambda: not server.connections.count)
        assert len(received(client)) < LARGE_BYTES


def test_waiting_connections_make_room(server: CountingServer) -> None:
    """Connections without a request make room for new ones; if all have one, further ones get 503."""
    most = int(LIMITS.max_connections * 0.75)  # all have the same address
    with ExitStack() as stack:
        for _ in range(3 * most):
            stack.enter_context(server.connect())
        until(lambda: server.connections.count == most)
        assert statuses(server.converse(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")) == [200]
        until(lambda: server.connections.count == most - 1)
        clients = [stack.enter_context(server.connect()) for _ in range(most)]
        for client in clients:
            client.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
        until(lambda: server.endless - server.ended == most)
        assert b"retry-after: " in server.converse(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n")
    until(lambda: not server.connections.count)
    assert server.converse(b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n").endswith(b"\r\n\r\n0")


def test_ordinary_clients_notice_nothing(server: CountingServer) -> None:
    """A client that reuses its connection, with small and large bodies, gets its answers."""
    url = f"http://{server.address[0]}:{server.address[1]}"
    with httpx.Client(base_url=url) as client:
        for size in (0, 1, 300_000, 5_000_000, 0):
            assert client.post("/", content=b"a" * size).text == str(size)
            assert client.post("/", content=iter([b"a" * size])).text == str(size)
