"""A minimal HTTP client, whose own cost does not affect measurements."""

import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import cast

TIMEOUT_SECONDS = 60.0


class Wire:
    """A server on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def seconds_each(self, requests: Iterable[bytes]) -> list[float]:
        """Send requests one after another; return the duration of each in seconds.

        They share one connection, which is opened now: a server closes connections that have been idle.
        """
        seconds = []
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in requests:
                started = time.perf_counter()
                connection.sendall(request)
                _receive(connection)
                seconds.append(time.perf_counter() - started)
        return seconds

    def seconds_together(self, requests: Iterable[bytes], clients: int) -> float:
        """Send requests over several connections at once; return the seconds until the last answer.

        Each connection sends the next request as soon as it has an answer.
        """
        waiting = iter(requests)
        with ExitStack() as stack, selectors.DefaultSelector() as selector:
            connections = [
                stack.enter_context(socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS))
                for _ in range(clients)
            ]
            started = time.perf_counter()
            for connection, request in zip(connections, waiting, strict=False):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(request)
                selector.register(connection, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(TIMEOUT_SECONDS):
                    connection = cast(socket.socket, key.fileobj)
                    _receive(connection)
                    if (following := next(waiting, None)) is None:
                        selector.unregister(connection)
                    else:
                        connection.sendall(following)
            return time.perf_counter() - started


def _receive(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _read(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if not status.startswith(b"2"):
        raise RuntimeError(received.decode())
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += _read(connection)


def _read(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("The server has closed the connection.")
    return data


def get(path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """Return a POST request with a JSON body."""
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body
