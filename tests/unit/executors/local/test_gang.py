"""Workers that train one job together: held until enough are idle, and freed when the job has ended."""

import math

import pytest

from service.executors.local.gang import Gang
from service.executors.local.supervised_worker import KillReason, SupervisedWorker
from service.storage.queue import ParallelJob
from service.worker.messages import Assist, Hold, Idle, JobStarted, Lead, Rendezvous, Work
from tests.unit.executors.local.test_supervised_worker import Process

JOB = "job_1"
Worker = SupervisedWorker[Process]


def rendezvous(count: int) -> Rendezvous:
    """Return where `count` processes of the job meet."""
    return Rendezvous("ada", JOB, count, "127.0.0.1", 4000)


@pytest.fixture
def workers() -> list[Worker]:
    """Three workers, the first of which trains another job."""
    found = [SupervisedWorker(Process(), name=f"w{index}", device="cpu", ready=True) for index in range(3)]
    found[0].observe(JobStarted("job_0"))
    for worker in found[1:]:
        worker.observe(Idle())
    return found


def running(workers: list[Worker], count: int, fewest: int) -> Gang[Process]:
    """Return a gang of idle workers whose job runs."""
    gang = Gang.gather("cpu", ParallelJob(count, fewest), workers)
    assert gang is not None
    for worker in workers:
        worker.observe(Idle())
    assert gang.advance(workers)
    assert gang.lead is not None
    gang.lead.observe(JobStarted(JOB))
    gang.assist(rendezvous(count))
    return gang


def test_too_few_workers_are_not_held(workers: list[Worker]) -> None:
    """A job that needs more workers than there are holds none."""
    assert Gang.gather("cpu", ParallelJob(4, 4), workers) is None
    assert not any(worker.held for worker in workers)


def test_idle_workers_are_held_first(workers: list[Worker]) -> None:
    """Of more workers than a job needs, the idle ones are held; a held worker is not free."""
    assert Gang.gather("cpu", ParallelJob(2, 2), workers) is not None
    assert [worker.held for worker in workers] == [False, True, True]
    assert [worker.process.orders for worker in workers] == [[], [Hold()], [Hold()]]
    assert not any(worker.is_free for worker in workers)


def test_the_job_waits_for_its_least_number_of_processes(workers: list[Worker]) -> None:
    """The job is claimed once `min_processes` workers are idle, with all that are; the others go on."""
    gang = Gang.gather("cpu", ParallelJob(3, 2), workers)
    assert gang is not None
    workers[1].observe(Idle())
    assert gang.advance(workers)
    assert gang.lead is None
    workers[2].observe(Idle())
    assert gang.advance(workers)
    assert gang.lead is workers[1]
    assert workers[1].process.orders[-1] == Lead(2)
    assert (workers[0].process.orders[-1], workers[0].held) == (Work(), False)


def test_a_gang_ends_with_too_few_workers(workers: list[Worker]) -> None:
    """Members that are lost before the job has started free the others if too few are left."""
    gang = Gang.gather("cpu", ParallelJob(3, 3), workers)
    assert gang is not None
    assert not gang.advance(workers[:2])
    assert [worker.process.orders[-1] for worker in workers] == [Work(), Work(), Hold()]


def test_members_assist_and_are_freed_afterwards(workers: list[Worker]) -> None:
    """Each other process gets its rank; when the lead goes on to another job, all are free again."""
    gang = running(workers, 3, 3)
    lead, *others = gang.lead, *gang.members
    assert [each.process.orders[-1] for each in others] == [
        Assist(rendezvous(3), 1),
        Assist(rendezvous(3), 2),
    ]
    assert gang.advance(workers)
    lead.observe(JobStarted("job_2"))
    assert not gang.advance(workers)
    assert [each.process.orders[-1] for each in others] == [Work(), Work()]


def test_members_that_the_job_does_not_need_are_freed(workers: list[Worker]) -> None:
    """A job that goes on with fewer processes leaves the other members to the queue."""
    gang = Gang.gather("cpu", ParallelJob(3, 2), workers)
    assert gang is not None
    for worker in workers:
        worker.observe(Idle())
    gang.advance(workers)
    gang.assist(rendezvous(2))
    assert [worker.held for worker in workers].count(True) == 1


def test_a_lead_that_finds_no_job_frees_the_members(workers: list[Worker]) -> None:
    """The job may have been cancelled before it was claimed."""
    gang = Gang.gather("cpu", ParallelJob(2, 2), workers)
    assert gang is not None
    for worker in workers[1:]:
        worker.observe(Idle())
    gang.advance(workers)
    assert gang.lead is not None
    gang.lead.observe(Idle())
    assert not gang.advance(workers)
    assert not any(worker.held for worker in workers)


def test_processes_that_do_not_part_are_killed(workers: list[Worker]) -> None:
    """After a loss, the lead must part in time; it does so with its next job."""
    gang = running(workers, 3, 3)
    lead, lost = gang.lead, gang.members[0]
    assert lead is not None

    def deadline() -> float:
        return {why: when for when, why in lead.deadlines(600.0, 25.0, 60.0)}[KillReason.RANK_LOST]

    assert deadline() == math.inf
    assert gang.advance([worker for worker in workers if worker is not lost])
    assert deadline() < math.inf
    lead.observe(Idle())
    assert deadline() == math.inf
