"""A helper without torch: ways to answer, or not."""

import os
import time

from service.processes.channel import join_parent


def main(argv: list[str]) -> None:
    """Answer until the parent is gone."""
    channel, _ = join_parent(argv)
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
