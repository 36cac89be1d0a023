"""The service: index, health, devices, workers and queue."""

from typing import Literal

from service.api.schemas.base import Resource


class Worker(Resource):
    """A live worker process."""

    id: str
    device: str
    """`cpu` or `cuda:N`."""
    device_name: str | None
    """Name of the GPU; null for `cpu`."""
    threads: int
    hostname: str
    pid: int
    started_at: str
    heartbeat_at: str


class System(Resource):
    """State of the service."""

    version: str
    devices: list[str]
    """Devices of the live workers."""
    workers: list[Worker]
    queue_length: int
    """Number of queued jobs."""
    queue_lengths: dict[str, int]
    """Number of queued jobs by device."""
    max_queue_length: int
    """Number of queued jobs from which on a submission gets 503."""


class Health(Resource):
    """Health of the service and of each dependency."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
    """Result of each check: `ok`, or what is wrong."""


class Index(Resource):
    """Entry points of the API."""

    name: str
    version: str
    links: dict[str, str]
