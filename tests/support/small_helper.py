"""A helper without torch: requests that are answered, and others that never are."""

import os
import random
import signal
import time
from dataclasses import dataclass
from typing import Any

from service.helper.request import Request
from service.processes.channel import Channel
from service.processes.messages import Messages


@dataclass(frozen=True)
class Echoed:
    """The id of the process that answers, and the value that it received."""

    pid: int
    value: Any


@dataclass(frozen=True)
class Echo(Request[Echoed]):
    """Answer the value; the body comes back, too."""

    value: Any = None


@dataclass(frozen=True)
class Sleep(Request[Echoed]):
    """Never answer."""


@dataclass(frozen=True)
class Abort(Request[Echoed]):
    """Crash."""


@dataclass(frozen=True)
class DieLater(Request[Echoed]):
    """Answer, then die while idle, with the next call unread."""


@dataclass(frozen=True)
class AnswerWrongly(Request[Echoed]):
    """Answer a message that is no answer to this request."""


@dataclass(frozen=True)
class ProcessState:
    """What a process inherited.

    Attributes:
        descriptors: Open descriptors and their targets.
        random: The next number of Python's generator.
        ignored: Whether SIGUSR1 is ignored.
    """

    descriptors: list[str]
    random: float
    ignored: bool


@dataclass(frozen=True)
class GetState(Request[ProcessState]):
    """Answer what the process inherited."""


@dataclass(frozen=True)
class Exit(Request[Echoed]):
    """End without an answer."""


REQUESTS = Messages[Request[Any]](Echo, Sleep, Abort, DieLater, AnswerWrongly, GetState, Exit)
MODULE = "tests.support.small_helper"


def preload() -> None:
    """Do what a fork server must undo in its children."""
    random.seed(0)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def main(channel: Channel) -> None:
    """Answer until the parent is gone."""
    channel.receive_settings()
    channel.send({"event": "ready"})
    while True:
        header, body = channel.receive()
        match REQUESTS.load(header):
            case Echo(value):
                channel.send(Echo.answers.dump(Echoed(os.getpid(), value)), body)
            case Sleep():
                time.sleep(60)
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
    """Open descriptors, without the one that lists them."""
    return [each for each in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{each}")]
