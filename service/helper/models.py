"""Trained models by job, the last few kept loaded."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from service.errors import CheckpointNotFound, NoCheckpointYet
from service.inference.model import TrainedModel
from service.jobs.checkpoint_reads import read_checkpoint
from service.storage.checkpoints import Checkpoint as CheckpointRow
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint

MAX_LOADED_BYTES = 512 * 2**20


class Models:
    """Loads models from checkpoints; keeps the most recently used within a bound.

    An artifact is written once under a fresh name, so what was loaded from it never grows stale.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._loaded: OrderedDict[tuple[str, str | None], tuple[TrainedModel, int]] = OrderedDict()

    def get(self, owner: str, job_id: str, which: str | None) -> TrainedModel:
        """The model of a job.

        Args:
            which: `last`, `best` or an epoch; None: `best` with `restore_best`, else `last`.

        Raises:
            JobNotFound: when the owner has no such job.
            NoCheckpointYet: when nothing was saved yet.
            CheckpointNotFound: when there is no such checkpoint.
        """
        return read_checkpoint(
            self._storage,
            owner,
            job_id,
            lambda rows: _chosen(rows, which),
            lambda row: self._model(owner, row, which),
        )

    def _model(self, owner: str, row: CheckpointRow, which: str | None) -> TrainedModel:
        key = (row.artifact, which)
        if key not in self._loaded:
            request = orjson.loads(self._storage.jobs.get(owner, row.job_id).request)
            checkpoint = Checkpoint.from_bytes(self._storage.artifacts.get(row.artifact))
            best = which == "best" or (which is None and _restores_best(request))
            self._loaded[key] = (TrainedModel.from_checkpoint(checkpoint, request, best), row.bytes)
            self._forget_oldest()
        self._loaded.move_to_end(key)
        return self._loaded[key][0]

    def _forget_oldest(self) -> None:
        while len(self._loaded) > 1 and sum(size for _, size in self._loaded.values()) > MAX_LOADED_BYTES:
            self._loaded.popitem(last=False)


def _chosen(rows: Sequence[CheckpointRow], which: str | None) -> CheckpointRow:
    """The row of an epoch; `last` and `best` are both in the latest."""
    if not rows:
        raise NoCheckpointYet()
    if which in (None, "last", "best"):
        return rows[-1]
    whole = {row.epoch: row for row in rows if row.step == 0}
    if int(which) in whole:
        return whole[int(which)]
    there = ", ".join(map(str, whole)) or "none of whole epochs yet"
    raise CheckpointNotFound(f"There is no checkpoint of epoch {which}; there are {there}.")


def _restores_best(request: Mapping[str, Any]) -> bool:
    stopping = request["training"]["early_stopping"]
    return stopping is not None and bool(stopping["restore_best"])
