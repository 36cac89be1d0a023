"""Trained models by job, the last few kept loaded."""

from collections import OrderedDict

import orjson

from service.errors import CheckpointNotFound, NoCheckpointYet
from service.inference.model import TrainedModel
from service.storage.checkpoints import Checkpoint as CheckpointRow
from service.storage.jobs import Job
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint

MAX_LOADED_BYTES = 512 * 2**20


class Models:
    """Loads models from checkpoints; keeps the most recently used within a bound.

    An artifact is written once under a fresh name, so what was loaded from it never grows stale.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._loaded: OrderedDict[tuple[str, bool], tuple[TrainedModel, int]] = OrderedDict()

    def get(self, owner: str, job_id: str, which: str | None) -> TrainedModel:
        """The model of a job.

        Args:
            which: `last`, `best` or an epoch; None: `best` with `restore_best`, else `last`.

        Raises:
            JobNotFound: when the owner has no such job.
            NoCheckpointYet: when nothing was saved yet.
            CheckpointNotFound: when there is no such checkpoint.
        """
        job = self._storage.jobs.get(owner, job_id)
        request = orjson.loads(job.request)
        stopping = request["training"]["early_stopping"]
        which = which or ("best" if stopping and stopping["restore_best"] else "last")
        row = self._row(job, which)
        key = (row.artifact, which == "best")
        if key not in self._loaded:
            checkpoint = Checkpoint.from_bytes(self._storage.artifacts.get(row.artifact))
            self._loaded[key] = (TrainedModel.from_checkpoint(checkpoint, request, which == "best"), row.bytes)
            self._forget_oldest()
        self._loaded.move_to_end(key)
        return self._loaded[key][0]

    def _row(self, job: Job, which: str) -> CheckpointRow:
        rows = self._storage.checkpoints.list(job.id)
        if not rows:
            raise NoCheckpointYet(f"The job is {job.status} and has no checkpoint.")
        if which in ("last", "best"):
            return rows[-1]
        for row in rows:
            if row.epoch == int(which):
                return row
        there = ", ".join(str(row.epoch) for row in rows)
        raise CheckpointNotFound(f"There is no checkpoint of epoch {which}; there are {there}.")

    def _forget_oldest(self) -> None:
        while len(self._loaded) > 1 and sum(size for _, size in self._loaded.values()) > MAX_LOADED_BYTES:
            self._loaded.popitem(last=False)
