"""Loading the models of jobs, and caching the most recently used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import delete

from service.errors import CheckpointNotFound, JobNotFound, NoCheckpointYet
from service.helper.messages import ExportModel, Predict, PredictRows
from service.helper.models import Models
from service.helper.tasks import Tasks
from service.inference.predictions import SLICE_ROWS
from service.preflight.cache import PreflightCache
from service.settings import Settings
from service.storage.checkpoints import NewCheckpoint
from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.storage.tables import checkpoints, jobs
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.trained import Trained, linear, table, train

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A small fit."""
    return train(table({"t": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}), [linear(1)])


def saved_job(storage: Storage, trained: Trained, *epochs: int, mebibytes: int = 1) -> str:
    """A running job with checkpoints of these epochs and of a pretended size."""
    request = {**trained.request, "training": {**trained.request["training"], "early_stopping": None}}
    job, _ = storage.jobs.submit(
        OWNER, PlannedJob(new_job(request=orjson.dumps(request).decode()), new_dataset())
    )
    claim = Claim.of(claimed(storage.claims))
    for epoch in epochs:
        artifact = storage.artifacts.put("checkpoints", trained.checkpoint.to_bytes())
        row = NewCheckpoint(epoch, artifact, mebibytes * MEBIBYTE)
        storage.claims.save_checkpoint(claim, row, keep=list(epochs))
    return job.id


def test_the_least_recently_used_model_is_evicted(storage: Storage, trained: Trained) -> None:
    """Models are cached up to a total size, and the least recently used is loaded again."""
    first, second, third = (saved_job(storage, trained, 5) for _ in range(3))
    models = Models(storage, max_bytes=2 * MEBIBYTE)
    loaded = {job_id: models.get(OWNER, job_id, None) for job_id in (first, second)}
    assert models.get(OWNER, first, None) is loaded[first]
    models.get(OWNER, third, None)
    assert models.get(OWNER, first, None) is loaded[first]
    assert models.get(OWNER, second, None) is not loaded[second]


def test_a_model_beyond_the_limit_is_cached_alone(storage: Storage, trained: Trained) -> None:
    """A model that exceeds the limit by itself is cached, and every other is evicted."""
    small, large = saved_job(storage, trained, 5), saved_job(storage, trained, 5, mebibytes=9)
    models = Models(storage, max_bytes=2 * MEBIBYTE)
    before = models.get(OWNER, small, None)
    assert models.get(OWNER, large, None) is models.get(OWNER, large, None)
    assert models.get(OWNER, small, None) is not before


def test_checkpoints_are_found_by_epoch(storage: Storage, trained: Trained) -> None:
    """An epoch without a checkpoint is answered with the available ones."""
    job_id, unsaved = saved_job(storage, trained, 2, 5), saved_job(storage, trained)
    models = Models(storage)
    assert models.get(OWNER, job_id, "2").epoch == models.get(OWNER, job_id, "last").epoch
    with pytest.raises(CheckpointNotFound, match="of epoch 3; available epochs: 2, 5"):
        models.get(OWNER, job_id, "3")
    with pytest.raises(CheckpointNotFound, match="request `last`"):
        models.get(OWNER, job_id, "best")
    with pytest.raises(NoCheckpointYet):
        models.get(OWNER, unsaved, None)
    with pytest.raises(JobNotFound):
        models.get("bob", job_id, None)


def test_without_a_best_epoch_the_last_is_used(storage: Storage) -> None:
    """A job whose monitored metric had no value has its last epoch as result, and `best` says why."""
    trained = train(
        table({"t": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}, split={"validation": 1}),
        [linear(1)],
        metrics=["r2_score"],
        early_stopping={"monitor": "validation_r2_score", "patience": 2},
    )
    job, _ = storage.jobs.submit(
        OWNER, PlannedJob(new_job(request=orjson.dumps(trained.request).decode()), new_dataset())
    )
    artifact = storage.artifacts.put("checkpoints", trained.checkpoint.to_bytes())
    storage.claims.save_checkpoint(Claim.of(claimed(storage.claims)), NewCheckpoint(5, artifact, 9))
    models = Models(storage)
    assert models.get(OWNER, job.id, None).epoch == models.get(OWNER, job.id, "last").epoch == 5
    with pytest.raises(CheckpointNotFound, match="`validation_r2_score` has had no value in any epoch"):
        models.get(OWNER, job.id, "best")


def test_the_version_of_a_model_needs_no_export(storage: Storage, trained: Trained, tmp_path: Path) -> None:
    """Without a file to write, the answer names the same parameters, so that a client may have them."""
    job_id = saved_job(storage, trained, 5)
    settings = Settings(data_dir=tmp_path)
    tasks, file = Tasks(storage, settings, PreflightCache(settings)), tmp_path / "file"
    request = ExportModel(OWNER, job_id, None, "safetensors", None)
    before = {*tmp_path.iterdir()}
    version, _ = tasks.run(request, b"")
    assert {*tmp_path.iterdir()} == before
    assert tasks.run(replace(request, answer_file=str(file)), b"")[0] == version
    assert file.exists()


def test_deleted_jobs_and_newer_checkpoints_are_seen_at_once(storage: Storage, trained: Trained) -> None:
    """A checkpoint that was chosen before is used only until something is committed."""
    job_id = saved_job(storage, trained, 2)
    models = Models(storage)
    first = models.get(OWNER, job_id, None)
    assert models.get(OWNER, job_id, None) is first
    later = storage.artifacts.put("checkpoints", trained.checkpoint.to_bytes())
    storage.claims.save_checkpoint(Claim.of(storage.jobs.get(OWNER, job_id)), NewCheckpoint(5, later, 9))
    assert models.get(OWNER, job_id, None) is not first
    with pytest.raises(JobNotFound):
        models.get("bob", job_id, None)
    with storage.database.write() as connection:
        connection.execute(delete(checkpoints))
        connection.execute(delete(jobs))
    with pytest.raises(JobNotFound):
        models.get(OWNER, job_id, None)


@pytest.mark.parametrize("layers", [[linear(1)], [linear(40), {"type": "GELU"}, linear(3, 40)]])
def test_parts_of_a_batch_have_the_answers_that_they_have_alone(
    storage: Storage, tmp_path: Path, layers: list[dict[str, Any]]
) -> None:
    """Rows of several clients have the same bits together and alone; each has its own errors."""
    targets = {f"t{index}": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] for index in range(layers[-1]["out_features"])}
    names = [*targets]
    transforms = [{"columns": ["a"], "type": "standardize"}, {"columns": names[:1], "type": "standardize"}]
    job_id = saved_job(storage, train(table(targets, transforms=transforms), layers), 5)
    settings = Settings(data_dir=tmp_path)
    tasks = Tasks(storage, settings, PreflightCache(settings))
    bodies: list[Any] = [{"inputs": [[0.1 * each, 1.3]] * (1 + each % 3)} for each in range(20)]
    bodies[3] = {"columns": {"a": [1.0], "c": [2.0]}}
    bodies[7] = {"dataset_id": "ds_1"}
    bodies[9] = {"inputs": [[1, 2]] * (SLICE_ROWS + 1)}
    bodies[11] = {"rows": [{"a": 1.5, "b": 40000.0}]}
    parts = [orjson.dumps(body) for body in bodies]
    together, content = tasks.run(PredictRows(OWNER, job_id, None, [*map(len, parts)]), b"".join(parts))
    alone = [tasks.run(PredictRows(OWNER, job_id, None, [len(part)]), part) for part in parts]
    assert together.parts == [each for predicted, _ in alone for each in predicted.parts]
    assert content == b"".join(answer for _, answer in alone)
    assert [index for index, part in enumerate(together.parts) if not isinstance(part, int)] == [3, 7, 9]
    assert together.parts[3].errors[0].pointer == "#/columns"
    assert alone[0][1] == tasks.run(Predict(OWNER, job_id, None, False, False, ""), parts[0])[1]
