"""A helper process without torch, whose requests are answered, fail or crash it."""

import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Any

from service.helper.request import Lane, Request
from service.processes.channel import Channel
from service.processes.messages import Messages


@dataclass(frozen=True)
class Echoed:
    """The id of the process that answers, and the value of the request."""

    pid: int
    value: Any


@dataclass(frozen=True)
class Echo(Request[Echoed]):
    """Answer with the same value and body."""

    value: Any = None


@dataclass(frozen=True)
class EchoFile(Request[Echoed]):
    """As `Echo`, in the lane of files."""

    value: Any = None

    @property
    def lane(self) -> Lane:
        return "files"


@dataclass(frozen=True)
class Sleep(Request[Echoed]):
    """Never answer."""


@dataclass(frozen=True)
class Spin(Request[Echoed]):
    """Never answer, and use a processor."""


@dataclass(frozen=True)
class Abort(Request[Echoed]):
    """Abort the process."""


@dataclass(frozen=True)
class DieLater(Request[Echoed]):
    """Answer, then die before the next request is read."""


@dataclass(frozen=True)
class AnswerWrongly(Request[Echoed]):
    """Answer with a message that is no answer to this request."""


@dataclass(frozen=True)
class ProcessState:
    """State that a process may have inherited.

    Attributes:
        descriptors: Open file descriptors and their targets.
        random: The next number of Python's random generator.
        ignored: True if SIGUSR1 is ignored.
    """

    descriptors: list[str]
    random: float
    ignored: bool


@dataclass(frozen=True)
class GetState(Request[ProcessState]):
    """Answer with the inherited state."""


@dataclass(frozen=True)
class Exit(Request[Echoed]):
    """Exit without an answer."""


REQUESTS = Messages[Request[Any]](Echo, EchoFile, Sleep, Spin, Abort, DieLater, AnswerWrongly, GetState, Exit)
MODULE = "tests.support.small_helper"


def preload() -> None:
    """Change process state that a fork server must reset in its children."""
    random.seed(0)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def main(channel: Channel) -> None:
    """Answer requests until the parent closes the channel."""
    channel.receive_settings()
    channel.send({"event": "ready"})
    while True:
        header, body = channel.receive()
        match REQUESTS.load(header):
            case Echo(value) | EchoFile(value):
                channel.send(Echo.answers.dump(Echoed(os.getpid(), value)), body)
            case Sleep():
                time.sleep(60)
            case Spin():
                while True:
                    pass
            case Abort():
                os.abort()
            case DieLater():
                channel.send(DieLater.answers.dump(Echoed(os.getpid(), None)))
                os.kill(os.getpid(), 9)
            case AnswerWrongly():
                channel.send({"type": "Sleep"})
            case GetState():
                descriptors = [f"{each}:{os.readlink(f'/proc/self/fd/{each}')}" for each in _descriptors()]
                ignored = signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
                channel.send(GetState.answers.dump(ProcessState(descriptors, random.random(), ignored)))
            case Exit():
                return


def _descriptors() -> list[int]:
    """Return the open descriptors, except the one that lists them."""
    return [each for each in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{each}")]
