"""A client of the application in this process, for answers that need no database."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from service.app import create_app
from service.settings import Settings

URL = "http://localhost:8000"


class Application:
    """The application with some settings, not started.

    It answers `/`, `/livez`, `/docs`, `/problems`, and requests with errors that need no database.

    Args:
        address: Address of the client.
        settings: The settings.
    """

    def __init__(self, address: str = "127.0.0.1", **settings: Any) -> None:
        self.app = create_app(Settings(data_dir=Path("unused"), **settings))
        self._transport = httpx.ASGITransport(self.app, client=(address, 50000))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; return the response."""

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url=URL) as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET a path with headers, in whose names `_` stands for `-`."""
        return self.request("GET", path, headers={name.replace("_", "-"): headers[name] for name in headers})
