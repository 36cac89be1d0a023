"""A helper without torch, `python -m tests.executors.small_helper <fd>`: ways to answer, or not."""

import os
import sys
import time

from service.jobs.channel import join_parent

channel, settings = join_parent(sys.argv)
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
