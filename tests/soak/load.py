"""Mixed load of clients that delete what they create, so that a healthy service stays as large as it is."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.support.fits import flowers, thermometer
from tests.support.server import ENDED, Service

WAIT = {"Prefer": "wait=30"}
TIMEOUT_SECONDS = 90.0


class Load:
    """Clients of a service, each in a thread.

    Attributes:
        answers: Number of answers by status.
    """

    def __init__(self, service: Service, clients: int, seed: int = 0) -> None:
        self._service = service
        self._clients = clients
        self._seed = seed
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.answers = Counter[str]()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests until the context ends."""
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(self._clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _client(self, number: int) -> None:
        chance = random.Random(self._seed + number)
        uses: list[Callable[[httpx.Client, random.Random], None]] = [
            self._fit,
            self._fit,
            self._check,
            self._dataset,
            self._mistakes,
            self._read,
            self._leave,
        ]
        for use in itertools.cycle(uses):
            if self._ended.is_set():
                return
            # A connection of its own, as many clients have.
            with httpx.Client(base_url=self._service.client.base_url, timeout=TIMEOUT_SECONDS) as client:
                client.event_hooks["response"] = [self._count]
                try:
                    use(client, chance)
                except httpx.TransportError as error:
                    self._count_name(type(error).__name__)

    def _count(self, response: httpx.Response) -> None:
        self._count_name(str(response.status_code))

    def _count_name(self, name: str) -> None:
        with self._lock:
            self.answers[name] += 1

    def _fit(self, client: httpx.Client, chance: random.Random) -> None:
        """Train, predict, evaluate, read all results, and delete the job."""
        body = flowers(epochs=chance.randint(1, 50)) if chance.random() < 0.5 else thermometer(epochs=20)
        job = client.post("/v1/jobs", json=body, headers=WAIT).json()
        path = f"/v1/jobs/{job.get('id')}"
        if job.get("status") == "succeeded":
            names = body["data"]["features"]
            rows = {name: [float(chance.random()) for _ in range(3)] for name in names}
            client.post(f"{path}/predictions", json={"columns": rows})
            for part in (
                "history",
                "named_parameters?include=values",
                "encoding",
                "split",
                "model",
                "logs",
                "events",
            ):
                client.get(f"{path}/{part}")
        if job.get("status") in ENDED:
            client.delete(path)

    def _check(self, client: httpx.Client, chance: random.Random) -> None:
        """Check a request with inline data of some size."""
        body: dict[str, Any] = thermometer(epochs=1)
        rows = chance.choice([10, 1000, 100_000])
        body["data"]["columns"] = {"t_u": [chance.random() for _ in range(rows)], "t_c": [0.5] * rows}
        client.post("/v1/jobs?validate_only=true", json=body)

    def _dataset(self, client: httpx.Client, chance: random.Random) -> None:
        """Upload a dataset, read it, and delete it."""
        lines = [f"{chance.random()},{chance.randint(0, 9)}" for _ in range(chance.choice([10, 10_000]))]
        content = "\n".join(["x,y", *lines]).encode()
        dataset = client.post("/v1/datasets", content=content, headers={"Content-Type": "text/csv"}).json()
        path = f"/v1/datasets/{dataset.get('id')}"
        for part in ("", "/rows", "/content"):
            client.get(path + part)
        client.delete(path)

    def _mistakes(self, client: httpx.Client, chance: random.Random) -> None:
        """Send what is refused."""
        client.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
        client.post("/v1/jobs", json=thermometer([{"type": "Liner", "out_features": 1}]))
        client.post(
            "/v1/datasets", content=b"\x93NUMPY", headers={"Content-Type": "application/octet-stream"}
        )
        client.get(f"/v1/jobs/job_{chance.random()}")

    def _read(self, client: httpx.Client, chance: random.Random) -> None:
        """Read lists and documents."""
        for path in ("/", "/livez", "/readyz", "/v1/jobs", "/v1/datasets", "/v1/system", "/openapi.json"):
            client.get(path)

    def _leave(self, client: httpx.Client, chance: random.Random) -> None:
        """Leave before an answer."""
        try:
            client.post("/v1/jobs?validate_only=true", json=thermometer(epochs=1), timeout=0.001)
        except httpx.TimeoutException:
            self._count_name("left")
