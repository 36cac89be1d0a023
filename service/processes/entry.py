"""The first acts of a forked child."""

import os
import random
import signal
import socket
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from setproctitle import setproctitle

STANDARD_STREAMS = 3


def set_title(module: str) -> None:
    """Name the process after the room of its module: `fitserve worker`, as `ps` shows it."""
    setproctitle(f"fitserve {module.removesuffix('.main').rpartition('.')[2].replace('_', ' ')}")


def enter(module: str, channel_descriptor: int) -> socket.socket:
    """Undo what a fork has copied from the parent.

    - Close every descriptor but the standard streams and the channel's: an inherited socket would keep a
      sibling's channel open after its death.
    - Restore the default action of all signals, and unblock them.
    - Seed Python's generator afresh; equal in all children otherwise. A module's `main` does so for the
      libraries that it uses.

    Returns:
        The child's end of its channel.
    """
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor >= STANDARD_STREAMS and descriptor != channel_descriptor:
            try:
                os.close(descriptor)
            except OSError:  # that of the listing itself
                continue
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        handler = signal.getsignal(number)
        if callable(handler) or handler is signal.SIG_IGN:
            signal.signal(number, _INITIAL_HANDLERS.get(number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    random.seed()
    set_title(module)
    return socket.socket(fileno=channel_descriptor)


# Python itself installs these at start.
_INITIAL_HANDLERS: Mapping[int, signal.Handlers | Callable[[int, FrameType | None], Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
