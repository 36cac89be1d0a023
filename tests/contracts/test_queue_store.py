"""The queue, on each database."""

from collections.abc import Callable

from service.storage.claims import ClaimStore
from service.storage.job_record import Job
from service.storage.queue import QueueStore

Submit = Callable[..., Job]


def test_the_position_counts_the_jobs_before(queue: QueueStore, claims: ClaimStore, submit: Submit) -> None:
    """The position counts the queued jobs of the same device that start before."""
    first, second, urgent, other = submit(), submit(), submit(priority=1), submit(device="cuda")
    assert [queue.position(job) for job in (first, second, urgent, other)] == [2, 3, 1, 1]
    running = claims.claim("w", ["cpu"], 30)
    assert running is not None
    assert queue.position(running) is None
    assert queue.position(first) == 1


def test_devices_that_share_workers_are_counted_together(queue: QueueStore, submit: Submit) -> None:
    """Jobs for any GPU and for a certain one stand in each other's way; those for two certain ones don't."""
    jobs = [submit(device=device) for device in ("cuda:0", "cuda", "cuda:1", "cuda:0", "cuda", "cpu")]
    assert [queue.position(job) for job in jobs] == [1, 2, 2, 3, 5, 1]


def test_lengths_are_those_of_devices_with_queued_jobs(
    queue: QueueStore, claims: ClaimStore, submit: Submit
) -> None:
    """The devices that jobs wait for are counted, without those whose queue is empty."""
    submit()
    submit(device="cuda")
    submit(device="cuda")
    assert queue.lengths() == {"cpu": 1, "cuda": 2}
    claims.claim("w", ["cpu"], 30)
    assert queue.lengths() == {"cuda": 2}
