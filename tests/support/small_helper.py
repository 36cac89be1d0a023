"""A helper process without torch: several ways to answer, or not to."""

import os
import random
import signal
import time

from service.processes.channel import Channel

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
        match header["task"]:
            case "echo":
                channel.send({"pid": os.getpid(), **header["arguments"]}, body)
            case "sleep":
                time.sleep(60)
            case "abort":
                os.abort()
            case "die later":  # while it is idle, with the next call unread
                channel.send({})
                os.kill(os.getpid(), 9)
            case "state":
                descriptors = [f"{each}:{os.readlink(f'/proc/self/fd/{each}')}" for each in _descriptors()]
                ignored = signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
                channel.send({"descriptors": descriptors, "random": random.random(), "ignored": ignored})
            case "exit":
                return


def _descriptors() -> list[int]:
    """Open descriptors, without the one that lists them."""
    return [each for each in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{each}")]
