"""The store of the queue, on each database."""

import random

import pytest

from service.storage.claims import ClaimStore
from service.storage.queue import QueueStore
from tests.support.records import Submit, claimed


def test_the_position_counts_the_jobs_before(queue: QueueStore, claims: ClaimStore, submit: Submit) -> None:
    """The position of a job counts itself and the queued jobs of its device that start before it."""
    first, second, urgent, other = submit(), submit(), submit(priority=1), submit(device="cuda")
    assert [queue.position(job) for job in (first, second, urgent, other)] == [2, 3, 1, 1]
    assert queue.position(claimed(claims)) is None
    assert queue.position(first) == 1


def test_devices_that_share_workers_are_counted_together(queue: QueueStore, submit: Submit) -> None:
    """Jobs for `cuda` and for one GPU count for each other; jobs for two different GPUs do not."""
    jobs = [submit(device=device) for device in ("cuda:0", "cuda", "cuda:1", "cuda:0", "cuda", "cpu")]
    assert [queue.position(job) for job in jobs] == [1, 2, 2, 3, 5, 1]


@pytest.mark.parametrize("seed", range(3))
def test_the_positions_of_a_page_are_those_of_each_job(
    queue: QueueStore, claims: ClaimStore, submit: Submit, seed: int
) -> None:
    """Whatever jobs are on a page, one query for each device counts as many before each of them."""
    choose = random.Random(seed)
    devices = ("cuda:0", "cuda", "cuda:1", "cpu")
    jobs = [submit(device=choose.choice(devices), priority=choose.randrange(3)) for _ in range(30)]
    jobs.append(claimed(claims))
    jobs = [job for job in jobs if job.id != jobs[-1].id] + jobs[-1:]
    for count in (0, 1, 5, len(jobs)):
        page = choose.sample(jobs, count)
        expected = {job.id: queue.position(job) for job in page}
        assert queue.positions(page) == {name: place for name, place in expected.items() if place is not None}


def test_lengths_are_those_of_devices_with_queued_jobs(
    queue: QueueStore, claims: ClaimStore, submit: Submit
) -> None:
    """Lengths are given for the devices with queued jobs only."""
    submit()
    submit(device="cuda")
    submit(device="cuda")
    assert queue.lengths() == {"cpu": 1, "cuda": 2}
    claims.claim("w", ["cpu"], 30)
    assert queue.lengths() == {"cuda": 2}
