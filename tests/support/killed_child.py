"""A module with which every child is killed before it can report its process id."""

import os
import signal


def preload() -> None:
    """Kill the second process of every double fork in a fork server."""
    fork, server = os.fork, os.getpid()

    def fork_and_kill() -> int:
        is_second = os.getpid() != server
        pid = fork()
        if not pid and is_second:
            os.kill(os.getpid(), signal.SIGKILL)
        return pid

    os.fork = fork_and_kill
