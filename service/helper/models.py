"""The trained models that a helper keeps loaded."""

from collections.abc import Sequence
from contextlib import suppress

import orjson
from cachetools import LRUCache

from service.errors import ArtifactNotFound, CheckpointNotFound, NoCheckpointYet
from service.inference.model import TrainedModel
from service.jobs.checkpoint_reads import read_checkpoint
from service.specs.training import TrainingSpec
from service.storage.checkpoints import Checkpoint as CheckpointRow
from service.storage.storage import Storage
from service.training.checkpoints import Checkpoint

MAX_LOADED_BYTES = 512 * 2**20
MAX_CHOSEN = 10_000


class Models:
    """Load models from checkpoints, and cache the most recently used.

    Entries never become stale, because an artifact is written once, under a fresh name.

    Args:
        storage: Where jobs and checkpoints are.
        max_bytes: Total size of the checkpoints of cached models. A single larger one is cached alone.
    """

    def __init__(self, storage: Storage, max_bytes: int = MAX_LOADED_BYTES) -> None:
        self._storage = storage
        # By artifact and `which`: the model and the bytes of its checkpoint. A larger one counts as the whole
        # budget, since cachetools raises for a value above it.
        self._loaded = LRUCache[tuple[str, str | None], tuple[TrainedModel, int]](
            max_bytes, getsizeof=lambda entry: min(entry[1], max_bytes)
        )
        # By owner, job and `which`: the checkpoint that was chosen, and the version of the database.
        self._chosen = LRUCache[tuple[str, str, str | None], tuple[CheckpointRow, int | None]](MAX_CHOSEN)

    def get(self, owner: str, job_id: str, which: str | None) -> TrainedModel:
        """Load the model of a job; see `get_saved`."""
        return self.get_saved(owner, job_id, which)[0]

    def get_saved(self, owner: str, job_id: str, which: str | None) -> tuple[TrainedModel, CheckpointRow]:
        """Load the model of a job; return it with the checkpoint that it was read from.

        Args:
            owner: The job's owner.
            job_id: The job.
            which: `last`, `best` or an epoch; None: `best` with `restore_best`, if there is one, else `last`.

        Raises:
            JobNotFound: The owner has no such job.
            NoCheckpointYet: The job has no checkpoint yet.
            CheckpointNotFound: The job has no such checkpoint.
        """
        key, version = (owner, job_id, which), self._storage.database.version()
        row, chosen_at = self._chosen.get(key, (None, None))
        if row is not None and chosen_at == version is not None:
            with suppress(ArtifactNotFound):
                return self._model(owner, row, which), row
        model, row = read_checkpoint(
            self._storage,
            owner,
            job_id,
            lambda rows: _choose(rows, which),
            lambda row: (self._model(owner, row, which), row),
        )
        self._chosen[key] = row, version
        return model, row

    def _model(self, owner: str, row: CheckpointRow, which: str | None) -> TrainedModel:
        key = (row.artifact, which)
        if key in self._loaded:
            return self._loaded[key][0]
        job = self._storage.jobs.get(owner, row.job_id)
        request, report = orjson.loads(job.request), orjson.loads(job.report)
        checkpoint = Checkpoint.from_bytes(self._storage.artifacts.get(row.artifact))
        best = which == "best" or (
            which is None
            and checkpoint.best is not None
            and TrainingSpec.model_validate(request["training"]).predicts_best
        )
        model = TrainedModel.from_checkpoint(checkpoint, request, report, best)
        self._loaded[key] = model, row.bytes
        return model


def _choose(rows: Sequence[CheckpointRow], which: str | None) -> CheckpointRow:
    """Find the checkpoint that holds what was asked for; the newest holds both `last` and `best`."""
    if not rows:
        raise NoCheckpointYet()
    if which in (None, "last", "best"):
        return rows[-1]
    between_epochs = {row.epoch: row for row in rows if row.step == 0}
    if int(which) in between_epochs:
        return between_epochs[int(which)]
    available = ", ".join(map(str, between_epochs)) or "none yet"
    raise CheckpointNotFound(f"No checkpoint of epoch {which}; available epochs: {available}.")
