"""A worker process as its parent sees it: what it is at, and when it has to be ended."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import structlog

from service.processes.child import Child
from service.processes.starter import Starter
from service.settings import Settings

log = structlog.get_logger()

MODULE = "service.worker.main"
# A worker that was asked to stop may finish its step, or write its checkpoint, for so long.
CANCEL_GRACE_SECONDS = 0.8
OVERRUN_GRACE_SECONDS = 1.0


class Overdue(Enum):
    """Why a worker must be ended from outside."""

    CANCEL = auto()
    RUNTIME = auto()
    HANG = auto()
    SILENCE = auto()


@dataclass(eq=False)
class Worker:
    """One worker process; until it has joined, a spare one.

    Attributes:
        child: the process.
        name: its id in the database; a replacement gets a new one.
        device: `cpu` or `cuda:N`.
        warm: whether it has ever said that it is ready.
        idle: whether it waits to be woken.
        job_id: what it trains, as far as is known; of a group, the first.
        heard: when it last said what it is at.
        alive: when it last said anything, if only that it lives; at first, when it was started.
        ends_by: when a job's `max_runtime_seconds` are over, should it be training still.
        limited: the job whose time that is.
        asked: when it was first known that a job of it is to be cancelled.
    """

    child: Child
    name: str = ""
    device: str = ""
    warm: bool = False
    idle: bool = False
    job_id: str | None = None
    heard: float = 0.0
    alive: float = field(default_factory=time.monotonic)
    ends_by: float = math.inf
    limited: str = ""
    asked: float = math.inf

    @classmethod
    def spare(cls, settings: Settings, starter: Starter) -> "Worker":
        """Start a process that gets warm."""
        return cls(starter.start(MODULE, settings))

    def join(self, name: str, device: str) -> None:
        """Let it work under a name and for a device."""
        self.name, self.device = name, device
        self.send({"order": "join", "name": name, "device": device})

    def takes(self, device: str) -> bool:
        """Whether it takes jobs for `device`: its own, or `cuda` for any GPU."""
        return self.device == device or self.device.startswith(f"{device}:")

    def work(self) -> None:
        """Let it look for a job."""
        self.idle = False
        self.send({"order": "work"})

    def stop(self) -> None:
        """Let it give its job back and end."""
        self.send({"order": "stop"})

    def send(self, order: Mapping[str, object]) -> None:
        """Send an order. One that is gone hears nothing: its socket's end says so to whoever listens."""
        try:
            self.child.channel.send(order)
        except OSError:
            log.debug("worker is gone", worker=self.name)

    def hear(self) -> str | None:
        """Take in what it says; the job about which there may be something new.

        Raises:
            EOFError, OSError: when it is gone.
        """
        message, _ = self.child.channel.receive()
        self.alive = time.monotonic()
        if message["event"] == "alive":
            return None
        self.heard = self.alive
        match message["event"]:
            case "warm":
                self.warm = True
            case "limit":
                left = message["seconds_left"]
                # Time that was over while it wrote something is over now: it is between two steps.
                self.ends_by = math.inf if left is None else self.heard + max(0.0, left)
                self.limited = message["job_id"]
                return None
            case "begins" | "warms up" | "idle" as event:
                self.idle = event == "idle"
                self.job_id, self.ends_by, self.asked = message["job_id"], math.inf, math.inf
        return message["job_id"]  # type: ignore[no-any-return]

    def excuse(self) -> None:
        """Hold nothing against it that it could have done before now: its parent may not have been there."""
        now = time.monotonic()
        self.alive = now
        self.asked, self.ends_by = max(self.asked, now), max(self.ends_by, now)

    def ask_to_stop(self) -> None:
        """Its job is to be cancelled: it finds that out in a moment, unless it is inside a long step."""
        self.asked = min(self.asked, time.monotonic())
        self.send({"order": "look"})

    def deadlines(
        self, hang_seconds: float, silent_seconds: float, start_seconds: float
    ) -> Sequence[tuple[float, Overdue]]:
        """When it has to be ended, and why, the weightiest reason first."""
        if self.warm:
            silence = (self.alive + silent_seconds, Overdue.SILENCE)
        else:
            silence = (max(self.alive, self.child.last_sign) + start_seconds, Overdue.SILENCE)
        if self.job_id is None:
            return [silence]
        return [
            (self.asked + CANCEL_GRACE_SECONDS, Overdue.CANCEL),
            (self.ends_by + OVERRUN_GRACE_SECONDS, Overdue.RUNTIME),
            (self.heard + hang_seconds, Overdue.HANG),
            silence,
        ]
