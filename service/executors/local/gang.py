"""Workers that train one job together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from service.executors.local.supervised_worker import P, SupervisedWorker
from service.storage.queue import ParallelJob
from service.worker.messages import Rendezvous

# Time in which a process leaves a training after the others have; it notices at its next exchange with them.
PARTING_SECONDS = 30.0


@dataclass(eq=False)
class Gang(Generic[P]):
    """Workers of one device that are held until enough of them are idle, and then train a job together.

    A worker that is busy ends its job first. The queue meanwhile keeps its order: held workers claim nothing,
    so that later jobs of one process don't take their places.

    Attributes:
        device: The queue of the job.
        needed: The number of processes of the job.
        members: The held workers; once the job runs, those that train it, without the first.
        lead: The worker that was ordered to claim the job; None before that.
        job_id: The job, once the lead has claimed it.
    """

    device: str
    needed: ParallelJob
    members: Sequence[SupervisedWorker[P]]
    lead: SupervisedWorker[P] | None = None
    job_id: str | None = None

    @classmethod
    def gather(
        cls, device: str, needed: ParallelJob, workers: Sequence[SupervisedWorker[P]]
    ) -> "Gang[P] | None":
        """Hold workers for a job.

        Args:
            device: The queue of the job.
            needed: The number of processes of the job.
            workers: The workers of its device.

        Returns:
            None if there are too few of them.
        """
        if len(workers) < needed.min_processes:
            return None
        chosen = sorted(workers, key=lambda worker: not worker.idle)[: needed.processes]
        for worker in chosen:
            worker.hold()
        return cls(device, needed, chosen)

    def advance(self, alive: Sequence[SupervisedWorker[P]]) -> bool:
        """Order the job to be claimed as soon as enough members are idle.

        Args:
            alive: All workers that live.

        Returns:
            False once the job has ended, or cannot start: the members are then free again.
        """
        if self.lead is None:
            return self._start(alive)
        lead, is_over = self.lead, self.job_id is not None and self.lead.job_id != self.job_id
        if is_over or lead.idle or lead not in alive:
            self.release(alive)
            return False
        if self.job_id is not None and any(worker not in alive for worker in self.members):
            # With gloo the lead notices by itself; NCCL waits for ever.
            lead.parting_deadline = min(lead.parting_deadline, time.monotonic() + PARTING_SECONDS)
        return True

    def _start(self, alive: Sequence[SupervisedWorker[P]]) -> bool:
        self.members = [worker for worker in self.members if worker in alive]
        if len(self.members) < self.needed.min_processes:
            self.release(alive)
            return False
        idle = [worker for worker in self.members if worker.idle]
        if len(idle) >= self.needed.min_processes:
            for worker in self.members:
                if worker not in idle:
                    worker.wake()
            self.lead, *self.members = idle
            self.lead.lead(len(idle))
        return True

    def assist(self, rendezvous: Rendezvous) -> None:
        """Order the members to train the job that the lead has claimed; free those that it does not need."""
        self.job_id = rendezvous.job_id
        for worker in self.members[rendezvous.count - 1 :]:
            worker.wake()
        self.members = self.members[: rendezvous.count - 1]
        for rank, worker in enumerate(self.members, start=1):
            worker.assist(rendezvous, rank)

    def release(self, alive: Sequence[SupervisedWorker[P]]) -> None:
        """Free the members that live; those that still train the job have `PARTING_SECONDS` to leave it."""
        for worker in self.members:
            if worker in alive:
                if self.job_id is not None and not worker.idle:
                    worker.parting_deadline = time.monotonic() + PARTING_SECONDS
                worker.wake()
