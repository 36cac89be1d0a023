"""The fork server: a process that has imported PyTorch once and forks all other children.

    python -m service.processes.fork_server_main <descriptor> <module>...

The service has threads, so it starts the fork server by exec. The fork server itself must stay safe to fork.
Before a fork it may

- import modules,
- set PyTorch to one thread,
- take an optimizer step on made-up gradients,
- trace a forward pass.

It must not

- run a backward pass: on a machine with a GPU, autograd starts threads and then refuses to run in a child;
- run a parallel region, a JAX computation or I/O of obstore, Arrow or a database: in trials, children hung
  after a two-threaded matrix product, a JAX compilation or a write by obstore in their parent;
- count GPUs with CUDA, which makes CUDA unusable in children.
"""

import os
import socket
import sys
import threading
import time
from importlib import import_module

import structlog

from service.processes.beats import sending_beats
from service.processes.channel import Channel
from service.processes.entry import ignore_sigterm, import_main, reset_after_fork, set_process_title
from service.processes.fork_server import NO_PROCESS, READY, REQUEST_BYTES, Request
from service.runtime.garbage_collector import freeze_loaded_objects, pause_collection

log = structlog.get_logger()

ORPHAN_POLL_SECONDS = 0.0005
PID_BYTES = 8


def main(argv: list[str]) -> None:
    """Import the modules, then fork on request until the service is gone."""
    set_process_title("fork_server")
    ignore_sigterm()
    control = socket.socket(fileno=int(argv[1]))
    pause_collection()
    with sending_beats(control):
        for name in argv[2:]:
            import_main(name).preload()
    freeze_loaded_objects()
    child = serve(control)
    # A child returns here too: it keeps no frames of `serve`, and exits as any interpreter does.
    if child is not None:
        module, connection = child
        import_module(module).main(Channel(connection))


def serve(control: socket.socket) -> tuple[str, socket.socket] | None:
    """Fork a child for each request.

    Returns:
        In a child, its module and its end of the channel. In the fork server, None once the service is gone.
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
            pid = _fork_orphan()
        except OSError:  # no memory or no process ids left
            log.exception("fork failed", module=request.module)
            pid = NO_PROCESS
        # Sent only now, when the service has become the parent and can wait for the process. Both report it:
        # the child may be killed before, and so may the fork server.
        _send(control, request.answer(os.getpid() if pid is None else pid))
        if pid is None:
            control.detach()  # `reset_after_fork` closes the descriptor
            return request.module, reset_after_fork(request.module, descriptor)
        os.close(descriptor)


def _send(control: socket.socket, message: bytes) -> None:
    try:
        control.send(message)
    except OSError:  # the service is gone, which the next `recv_fds` reports
        log.debug("service is gone")


def _fork_orphan() -> int | None:
    """Fork twice and let the intermediate process exit, so that the service becomes the parent of the child.

    Linux gives orphans to the nearest ancestor that is a subreaper, which is the service. So the service can
    wait for each child itself, and the end of the fork server ends no child.

    Returns:
        None in the new process; in the fork server, the id of that process.

    Raises:
        OSError: A fork has failed.
    """
    if threading.active_count() > 1:
        raise RuntimeError("Threads are running in the fork server; a forked child could hang.")
    reader, writer = os.pipe()
    intermediate_pid = os.fork()
    if intermediate_pid:
        os.close(writer)
        _, status = os.waitpid(intermediate_pid, 0)
        with open(reader, "rb", buffering=0) as pipe:
            if status:
                raise OSError("The second fork has failed.")
            return int.from_bytes(pipe.read(PID_BYTES), "little")
    intermediate_pid = os.getpid()
    try:
        if pid := os.fork():
            os.write(writer, pid.to_bytes(PID_BYTES, "little"))
            os._exit(0)
    except OSError:
        os._exit(1)
    while os.getppid() == intermediate_pid:  # until the orphan is adopted
        time.sleep(ORPHAN_POLL_SECONDS)
    return None


if __name__ == "__main__":
    main(sys.argv)
