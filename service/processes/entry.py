"""Prepare a new child process: its imports, its title, and the state that a fork copies."""

import os
import random
import signal
import socket
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

from setproctitle import setproctitle

from service.runtime.hidden_packages import hidden_packages

STANDARD_STREAMS = 3
# Torchmetrics imports these if they are installed, for plots and audio, which are not used here. They would
# take 65 MiB, and a sixth of the time of a start.
_UNUSED = ("matplotlib", "scipy")


def import_main(name: str) -> ModuleType:
    """Import the module that a child runs."""
    with hidden_packages(*_UNUSED):
        return import_module(name)


def set_process_title(module: str) -> None:
    """Set the title that `ps` shows: `fitserve` and the package of the module, such as `fitserve worker`."""
    setproctitle(f"fitserve {module.removesuffix('.main').rpartition('.')[2].replace('_', ' ')}")


def reset_after_fork(module: str, channel_descriptor: int) -> socket.socket:
    """Reset the state that a forked child has copied from its parent.

    - Close every descriptor but the standard streams and the channel's: an inherited socket would keep a
      sibling's channel open after its death.
    - Restore the initial action of all signals, and unblock them; SIGTERM stays ignored.
    - Reseed Python's generator, which would be equal in all children. A module's `main` reseeds the libraries
      that it uses.

    Returns:
        The child's end of its channel.
    """
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor >= STANDARD_STREAMS and descriptor != channel_descriptor:
            try:
                os.close(descriptor)
            except OSError:  # the descriptor of the listing itself
                continue
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        handler = signal.getsignal(number)
        if callable(handler) or handler is signal.SIG_IGN:
            signal.signal(number, _INITIAL_HANDLERS.get(number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    random.seed()
    set_process_title(module)
    return socket.socket(fileno=channel_descriptor)


def ignore_sigterm() -> None:
    """Ignore SIGTERM, which service managers send to all processes: children wait for orders."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


# Of a child; Python installs all but that of SIGTERM at start.
_INITIAL_HANDLERS: Mapping[int, signal.Handlers | Callable[[int, FrameType | None], Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGTERM: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}
