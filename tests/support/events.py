"""Server-sent events of a real service."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.server import Service


@dataclass(frozen=True)
class Event:
    """A received event.

    Attributes:
        type: Name of the event: `status`, `progress`, `metrics` or `end`.
        data: Parsed JSON of the event.
        id: Id from which a client can continue; None if the event has none.
    """

    type: str
    data: dict[str, Any]
    id: str | None


def read_events(lines: Iterator[str]) -> Iterator[Event]:
    """Parse the lines of a stream into events."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:  # an empty line ends an event; comments have no fields
            yield Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}


def stream_events(service: Service, path: str, last_id: str | None = None) -> Iterator[Event]:
    """Yield the events at a path as they arrive; close the stream with the iterator."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with service.client.stream("GET", path, headers=headers) as response:
        assert response.status_code == httpx.codes.OK
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield from read_events(response.iter_lines())


def reported_epochs(events: list[Event]) -> list[int]:
    """Return the epochs of all `metrics` events."""
    return [epoch for event in events if event.type == "metrics" for epoch in event.data["epochs"]]
