"""A minimal HTTP client on one connection, whose own cost does not affect measurements."""

import socket
import time


class Wire:
    """A connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def seconds_each(self, request: bytes, times: int) -> list[float]:
        """Send a request `times` times in sequence; return the duration of each in seconds."""
        seconds = []
        for _ in range(times):
            started = time.perf_counter()
            self.send(request)
            seconds.append(time.perf_counter() - started)
        return seconds

    def send(self, request: bytes) -> None:
        """Send a request and wait for the response."""
        self._socket.sendall(request)
        self._receive()

    def _receive(self) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._socket.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if not status.startswith(b"2"):
            raise RuntimeError(received.decode())
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += self._socket.recv(65536)


def get(path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """Return a POST request with a JSON body."""
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body
