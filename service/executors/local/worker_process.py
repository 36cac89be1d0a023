"""A worker process on this machine, behind its channel."""

import socket

from service.processes.child import Child
from service.processes.starter import Starter
from service.settings import Settings
from service.worker.messages import ORDERS, SIGNALS, Order, Signal

MODULE = "service.worker.main"


class LocalWorkerProcess:
    """A child process that runs a worker. See `WorkerProcess`.

    Args:
        child: The process and its channel.
    """

    def __init__(self, child: Child) -> None:
        self._child = child

    @classmethod
    def start(cls, settings: Settings, starter: Starter) -> "LocalWorkerProcess":
        """Start a process without waiting for it."""
        return cls(starter.start(MODULE, settings))

    @property
    def pid(self) -> int | None:
        """The process id; None until the process exists."""
        return self._child.pid

    @property
    def last_sign(self) -> float:
        """Time of the last sign of life during the start (`time.monotonic`)."""
        return self._child.last_sign

    @property
    def connection(self) -> socket.socket:
        """The socket that becomes readable when a signal or the end of the process has arrived."""
        return self._child.channel.connection

    @property
    def has_message(self) -> bool:
        """True if `receive` would return or raise without waiting."""
        return self._child.channel.ready(0.0)

    def send(self, order: Order) -> None:
        """Send an order. Raises OSError if the process is gone."""
        self._child.channel.send(ORDERS.dump(order))

    def receive(self) -> Signal:
        """Wait for a signal. See `WorkerProcess`."""
        header, _ = self._child.channel.receive()
        return SIGNALS.load(header)

    def kill(self) -> None:
        """Kill the process."""
        self._child.kill()

    def join(self, grace_seconds: float) -> None:
        """Wait for a process that was ordered to stop; kill it after the grace period."""
        self._child.join(grace_seconds)

    def describe_exit(self) -> str:
        """Describe in a sentence how the process ended."""
        return self._child.describe_exit()
