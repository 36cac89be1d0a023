"""The fork server: a process that has imported PyTorch once and forks all other children.

    python -m service.processes.fork_server_main <descriptor> <module>...

It is started by exec, since the service has threads. It must stay safe to fork: before a fork it may import,
set PyTorch to one thread, take an optimizer step on made-up gradients and trace a forward pass. It must not
run a backward pass (on a GPU machine autograd starts threads, and refuses to run in every child), a parallel
region, a JAX computation or I/O of obstore, Arrow or a database, and must not count GPUs: children hung
after a two-threaded matrix product, a JAX compilation or a write by obstore in their parent.
"""

import os
import socket
import sys
import threading
import time
from importlib import import_module

import structlog

from service.processes.beats import beating
from service.processes.channel import Channel
from service.processes.entry import enter, set_title
from service.processes.fork_server import READY, REQUEST_BYTES, Request
from service.runtime.garbage_collector import rest, settle

log = structlog.get_logger()

ORPHAN_POLL_SECONDS = 0.0005


def main(argv: list[str]) -> None:
    """Import the modules, then fork on request until the service is gone."""
    set_title("fork_server")
    control = socket.socket(fileno=int(argv[1]))
    rest()
    with beating(control):
        for name in argv[2:]:
            import_module(name).preload()
    settle()
    child = serve(control)
    # Children return here as well, so that they leave no frames of `serve` and end as any interpreter does.
    if child is not None:
        module, connection = child
        import_module(module).main(Channel(connection))


def serve(control: socket.socket) -> tuple[str, socket.socket] | None:
    """Fork a child for each request.

    Returns:
        In a child its module and its end of the channel; in the fork server None, once the service is gone.
    """
    _send(control, READY)
    while True:
        try:
            text, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 1)
        except ConnectionError:
            return None
        if not text:
            return None
        request = Request.from_bytes(text)
        (descriptor,) = descriptors
        try:
            is_child = _fork_orphan()
        except OSError:  # no memory or no process ids left: the closed channel reports the failure
            log.exception("fork failed", module=request.module)
            is_child = False
        if is_child:
            # Only now: the service, which has become the parent, can wait for this process.
            _send(control, request.answer(os.getpid()))
            control.detach()  # `enter` closes the descriptor
            return request.module, enter(request.module, descriptor)
        os.close(descriptor)


def _send(control: socket.socket, message: bytes) -> None:
    try:
        control.send(message)
    except OSError:  # the service is gone: the channel will say so
        log.debug("no service listens")


def _fork_orphan() -> bool:
    """Fork a process whose parent ends at once, so that the subreaper, the service, becomes its parent.

    The service can then wait for each child itself, and the end of the fork server ends no child.

    Returns:
        Whether this is the new process.
    """
    if threading.active_count() > 1:
        raise RuntimeError("Threads are running in the fork server: a forked child could hang.")
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    parent = os.getpid()
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(1)
    while os.getppid() == parent:
        time.sleep(ORPHAN_POLL_SECONDS)
    return True


if __name__ == "__main__":
    main(sys.argv)
