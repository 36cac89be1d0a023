"""The helper process: runs one task at a time, under a memory limit.

The caller has a time limit, and kills this process when a task exceeds it. A second thread ends the process
when the caller is gone.
"""

import os
import resource
import threading
from collections.abc import Mapping
from typing import Any

import torch

from service.helper.messages import REQUESTS
from service.helper.problems import problem_of
from service.helper.request import PROBLEMS
from service.helper.tasks import Tasks
from service.logs import configure_logging
from service.preflight.cache import PreflightCache
from service.processes.channel import Channel
from service.runtime.garbage_collector import freeze_loaded_objects
from service.settings import Settings
from service.storage.storage import Storage
from service.training.warm_up import reseed, warm_up, warm_up_before_fork

_WARM = object()


def answer(tasks: Tasks, header: Mapping[str, Any], body: bytes) -> tuple[Mapping[str, Any], bytes]:
    """Run the task of one message.

    Returns:
        The header and the body of the answer; an error is answered as a `Problem`.
    """
    try:
        request = REQUESTS.load(header)
        message, content = tasks.run(request, body)
        return request.answers.dump(message), content
    except Exception as error:
        return PROBLEMS.dump(problem_of(error, str(header.get("type")))), b""


def preload() -> None:
    """Do what the fork server may do for its children."""
    warm_up_before_fork()


def main(channel: Channel) -> None:
    """Serve tasks until the parent closes the channel."""
    settings = channel.receive_settings()
    configure_logging(settings.log_format)
    threading.Thread(target=_exit_with_parent, args=(channel,), name="parent", daemon=True).start()
    reseed()
    torch.set_num_threads(1)
    warm_up(torch.device("cpu"))
    _limit_memory(settings)
    with Storage.open(settings) as storage:
        cache = PreflightCache(settings)
        tasks = Tasks(storage, settings, cache)
        freeze_loaded_objects()
        channel.send({"event": "ready"})
        warming = cache.engines.warm_up()
        while True:
            # Warm up step by step while no request waits.
            while not channel.ready(0.0) and next(warming, _WARM) is not _WARM:
                freeze_loaded_objects()
            try:
                header, body = channel.receive()
                channel.send(*answer(tasks, header, body))
            except (EOFError, OSError):  # the parent is gone; errors of a task are answered
                return


def _exit_with_parent(channel: Channel) -> None:
    """Exit once the parent is gone, which would have killed a task that exceeds its time limit."""
    channel.wait_until_closed()
    os._exit(1)


def _limit_memory(settings: Settings) -> None:
    # RLIMIT_DATA, not RLIMIT_AS: torch maps far more address space than it uses.
    resource.setrlimit(resource.RLIMIT_DATA, (settings.helper_memory_bytes, settings.helper_memory_bytes))
