"""A client that attacks a service, and one that uses it meanwhile."""

import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.fits import thermometer
from tests.support.server import Service

# Another client than the one that uses the service: both have addresses of the loopback interface.
ADDRESS = "127.0.0.2"
PATIENCE_SECONDS = 90.0
LIVEZ_SECONDS = 0.1
FIT_SECONDS = 1.0
MEMORY_SECONDS = 0.05
REJECTED = "closed"


class Target:
    """A service under attack.

    Args:
        service: The service.
        share: Share of the full amounts of data and connections.
    """

    def __init__(self, service: Service, share: float = 1.0) -> None:
        self._service = service
        self.share = share

    def count(self, full: int) -> int:
        """Return the number of things of which a full attack has this many."""
        return max(2, int(full * self.share))

    def open(self) -> socket.socket:
        """Open a connection."""
        url = self._service.client.base_url
        return socket.create_connection((url.host, url.port or 0), PATIENCE_SECONDS, (ADDRESS, 0))

    def raw(self, *pieces: bytes) -> str:
        """Send pieces on a connection; return the status of the first answer, or `closed`."""
        with self.open() as client:
            with suppress(ConnectionError):  # the answer may have been sent before the end
                for piece in pieces:
                    client.sendall(piece)
            return status(client)

    def post(self, path: str, content: bytes, **headers: str) -> str:
        """Send a request with a body; return the status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Type", "application/json")
        with self._client() as client:
            try:
                return str(client.post(path, content=content, headers=named).status_code)
            except httpx.TransportError:
                return REJECTED

    def upload(self, content: bytes) -> str:
        """Upload a CSV file; return the id of the dataset."""
        with self._client() as client:
            answer = client.post("/v1/datasets", content=content, headers={"Content-Type": "text/csv"})
            return str(answer.json()["id"])

    def get(self, path: str) -> str:
        """Read a path; return the status."""
        with self._client() as client:
            try:
                return str(client.get(path).status_code)
            except httpx.TransportError:
                return REJECTED

    def at_once(self, calls: Iterable[Callable[[], str]]) -> Counter[str]:
        """Run attacks at once; return how often each status was answered."""
        listed = [*calls]
        with ThreadPoolExecutor(len(listed)) as pool:
            return Counter(pool.map(lambda call: call(), listed))

    def statuses(self, clients: Sequence[socket.socket]) -> Counter[str]:
        """Return the statuses of the answers of open connections, and close these."""
        counted = Counter(map(status, clients))
        for client in clients:
            client.close()
        return counted

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=ADDRESS)
        return httpx.Client(
            base_url=self._service.client.base_url, transport=transport, timeout=PATIENCE_SECONDS
        )


def status(client: socket.socket) -> str:
    """Return the status of the next answer of a connection, or `closed`; `open` if there is neither."""
    try:
        line = client.recv(4096).split(b"\r\n")[0].split()
    except TimeoutError:
        return "open"
    except ConnectionError:
        return REJECTED
    return line[1].decode() if len(line) > 1 else REJECTED


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


@dataclass
class Experience:
    """What a client met that used the service during an attack.

    Attributes:
        worst_seconds: Longest time of an answer, by request.
        failures: Answers that were not successful.
        peak_bytes: Largest memory of the process that serves HTTP.
    """

    worst_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    failures: list[str] = field(default_factory=list)
    peak_bytes: int = 0


class Bystander:
    """A client that polls `/livez` and submits a fit each second, and watches the memory of the service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @contextmanager
    def watching(self) -> Iterator[Experience]:
        """Use the service until the context ends."""
        met, ended = Experience(), threading.Event()
        uses = [(self._livez, LIVEZ_SECONDS), (self._fit, FIT_SECONDS), (self._memory, MEMORY_SECONDS)]
        threads = [threading.Thread(target=self._repeat, args=(*use, met, ended)) for use in uses]
        for thread in threads:
            thread.start()
        try:
            yield met
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def _repeat(
        self,
        use: Callable[[httpx.Client, Experience], None],
        seconds: float,
        met: Experience,
        ended: threading.Event,
    ) -> None:
        with httpx.Client(base_url=self._service.client.base_url, timeout=PATIENCE_SECONDS) as client:
            while not ended.is_set():
                start = time.monotonic()
                use(client, met)
                ended.wait(seconds - (time.monotonic() - start))

    def _livez(self, client: httpx.Client, met: Experience) -> None:
        self._timed("/livez", met, lambda: client.get("/livez"))

    def _fit(self, client: httpx.Client, met: Experience) -> None:
        body = thermometer(epochs=3)
        self._timed("fit", met, lambda: client.post("/v1/jobs", json=body))

    def _memory(self, client: httpx.Client, met: Experience) -> None:
        met.peak_bytes = max(met.peak_bytes, self._service.process.memory_info().rss)

    def _timed(self, name: str, met: Experience, send: Callable[[], httpx.Response]) -> None:
        start = time.monotonic()
        try:
            answer = send()
            if not answer.is_success:
                met.failures.append(f"{name}: {answer.status_code}")
        except httpx.TransportError as error:
            met.failures.append(f"{name}: {type(error).__name__}")
        met.worst_seconds[name] = max(met.worst_seconds[name], time.monotonic() - start)


def job(**changed: Any) -> dict[str, Any]:
    """Return a request of two rows, with other sections."""
    request = {
        "data": {"columns": {"x": [0, 1], "y": [0, 1]}, "features": ["x"], "targets": ["y"]},
        "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
        "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1},
    }
    return {**request, **changed}
