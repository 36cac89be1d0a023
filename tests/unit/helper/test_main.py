"""The answers of a helper process to messages of every type, known and unknown."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from structlog.testing import capture_logs

from service.helper.main import answer
from service.helper.messages import (
    REQUESTS,
    CheckJob,
    DownloadDataset,
    GetRows,
    InBody,
    PlanJob,
    ReadDataset,
)
from service.helper.request import Request
from service.helper.tasks import Tasks
from service.preflight.cache import PreflightCache
from service.settings import Settings
from service.specs.upload import Upload
from service.storage.datasets import NewDataset
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from tests.support.orphans import has_ended, orphan
from tests.support.records import OWNER
from tests.support.server import until
from tests.support.storage import open_storage

FIT = {
    "data": {"columns": {"x": [1, 2, 3], "y": [2, 4, 6]}, "features": ["x"], "targets": ["y"]},
    "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
    "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 1},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a folder of their own."""
    return Settings(data_dir=tmp_path_factory.mktemp("helper"))


@pytest.fixture(scope="module")
def storage(settings: Settings) -> Iterator[Storage]:
    """An empty storage."""
    with open_storage(settings) as storage:
        yield storage


@pytest.fixture(scope="module")
def tasks(settings: Settings, storage: Storage) -> Tasks:
    """The tasks of a helper."""
    return Tasks(storage, settings, PreflightCache(settings))


def ask(tasks: Tasks, request: Request[Any], body: bytes = b"") -> tuple[Any, bytes]:
    """The answer to one request."""
    header, content = answer(tasks, REQUESTS.dump(request), body)
    return request.answers.load(header), content


def test_every_request_has_a_task() -> None:
    """A task is registered for every request that a helper understands."""
    dispatcher = vars(Tasks)["run"].dispatcher
    assert set(REQUESTS.types) == set(dispatcher.registry) - {object}


def test_a_checked_job_is_described(tasks: Tasks) -> None:
    """The check of a job answers the report that clients see."""
    found, content = ask(tasks, CheckJob(OWNER), orjson.dumps(FIT))
    assert found == InBody()
    assert orjson.loads(content)["parameter_count"] == 2


def test_a_planned_job_names_written_artifacts(tasks: Tasks, storage: Storage) -> None:
    """The inline data of a planned job are written before its rows are answered."""
    planned, _ = ask(tasks, PlanJob(OWNER, "key"), orjson.dumps(FIT))
    assert isinstance(planned, PlannedJob)
    assert planned.job.epochs == 1
    (artifact,) = planned.artifacts()
    assert storage.artifacts.path(artifact).exists()


def test_a_body_that_is_not_json_is_a_problem(tasks: Tasks) -> None:
    """An error of the client is answered with its type, and nothing is logged."""
    with capture_logs() as lines:
        problem, content = ask(tasks, CheckJob(OWNER), b"{")
    assert (problem.slug, content, lines) == ("not-json", b"", [])


@pytest.mark.parametrize(
    "header", [{"type": "rm"}, {"task": "predict", "arguments": {}}, {"type": "GetRows", "owner": OWNER}]
)
def test_unknown_messages_are_unexpected_errors(tasks: Tasks, header: dict[str, Any]) -> None:
    """A message of an unknown type or with missing fields is logged, and answered as an unexpected error."""
    with capture_logs() as lines:
        found, content = answer(tasks, header, b"")
    assert (found["type"], found["slug"], content) == ("Problem", "fitserve-error", b"")
    assert [line["event"] for line in lines] == ["task failed"]
    assert ask(tasks, GetRows(OWNER, "ds_none", 0, 1))[0].slug == "dataset-not-found"


def test_a_helper_ends_with_its_parent(tmp_path: Path) -> None:
    """After kill -9 of its parent a helper exits in the middle of a task that would never end."""
    os.mkfifo(tmp_path / "body")  # opening it waits for a writer
    request = ReadDataset(OWNER, None, Upload(folder=str(tmp_path)))
    helper = orphan("service.helper.main", tmp_path, REQUESTS.dump(request))
    until(lambda: has_ended(helper))


@pytest.mark.parametrize("file", ["answer", "upload"])
def test_a_folder_that_is_gone_is_unavailable(
    tasks: Tasks, storage: Storage, tmp_path: Path, file: str
) -> None:
    """Where the data folder was renamed, what a task would write or read is answered with 503."""
    gone = tmp_path / "renamed"
    request: Request[Any] = ReadDataset(OWNER, None, Upload(folder=str(gone), format="csv"))
    if file == "answer":
        planned, _ = ask(tasks, PlanJob(OWNER), orjson.dumps(FIT))
        assert isinstance(planned.dataset, NewDataset)
        dataset, _ = storage.datasets.add(OWNER, planned.dataset)
        request = DownloadDataset(OWNER, dataset.id, "csv", False, str(gone / "answer"))
    problem, _ = ask(tasks, request)
    assert problem.slug == "unavailable"
    assert problem.detail.endswith("No such file or directory.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_full_storage(number: int) -> None:
    """A task that fills the disk is answered with what to do about it."""
    header, _ = answer(FullTasks(OSError(number, "")), REQUESTS.dump(GetRows(OWNER, "ds_1", 0, 1)), b"")
    assert header["slug"] == "storage-full"


class FullTasks(Tasks):
    """Tasks that run out of memory or disk space."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, request: Request[Any], body: bytes) -> Any:
        """Raise the error."""
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000 bytes."),
        torch.OutOfMemoryError("out of memory"),
    ],
)
def test_memory_that_runs_out_is_a_limit(error: Exception) -> None:
    """A task that runs out of memory is answered as a limit that it exceeds."""
    header, _ = answer(FullTasks(error), REQUESTS.dump(GetRows(OWNER, "ds_1", 0, 1)), b"")
    assert header["slug"] == "limit-exceeded"
