"""A worker without torch: its main thread trains nothing and never looks at its channel."""

import time

from service.processes.channel import Channel
from service.storage.storage import Storage
from service.worker.parent import Parent

MODULE = "tests.support.small_worker"
BUSY_SECONDS = 600.0


def preload() -> None:
    """Load nothing more."""


def main(channel: Channel) -> None:
    """Join and claim a job; send an unknown message if this is its first attempt."""
    settings = channel.receive_settings()
    parent = Parent(channel)
    parent.ready()
    parent.joined.wait()
    if parent.membership is not None:
        with Storage.open(settings) as storage:
            job = storage.claims.claim(parent.membership.name, ["cpu"], settings.lease_seconds)
        if job is not None:
            parent.job_started(job.id)
            if job.attempt == 1:
                channel.send({"type": "Stolen"})
    time.sleep(BUSY_SECONDS)
