"""A module that makes the second fork of every child fail, as with no process ids left."""

import os


def preload() -> None:
    """Replace `os.fork` in a fork server."""
    fork, server = os.fork, os.getpid()

    def fork_once() -> int:
        if os.getpid() != server:
            raise BlockingIOError("No process ids are left.")
        return fork()

    os.fork = fork_once
