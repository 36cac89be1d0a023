"""Serialization of the requests and answers of helper tasks."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.errors import FieldError, IdempotencyKeyReused, InvalidRequest, QueueFull
from service.helper.messages import (
    REQUESTS,
    EarlierJob,
    Evaluate,
    GetParameters,
    InBody,
    InFile,
    PlanJob,
    Predict,
    ReadDataset,
    ReadParameterSet,
    UploadStored,
)
from service.helper.request import PROBLEMS, Problem, Request
from service.processes.messages import UnknownMessage
from service.specs.upload import ReadOptions, Upload
from service.storage.checkpoints import NewCheckpoint
from service.storage.idempotency import IdempotencyKey
from service.storage.job_record import StartingPoint
from service.storage.planned_job import PlannedJob
from tests.support.records import new_dataset, new_job, new_parameter_set

UPLOAD = Upload(folder="/tmp/x", format="csv", options=ReadOptions(delimiter=";", types={"a": "categorical"}))
PLANNED = PlannedJob(
    new_job(name="fit"),
    new_dataset(inline=True),
    StartingPoint("job_1", NewCheckpoint(3, "checkpoints/a", 100, step=2)),
    ["ds_1", "ds_2"],
    IdempotencyKey("key", "fingerprint"),
    "par_1",
)


def sent(header: dict[str, Any]) -> dict[str, Any]:
    """The header after it went through JSON, as through a channel."""
    loaded: dict[str, Any] = orjson.loads(orjson.dumps(header))
    return loaded


@pytest.mark.parametrize(
    "request_",
    [
        PlanJob("ada", None),
        ReadDataset("ada", "penguins", UPLOAD),
        ReadParameterSet("ada", "weights", UPLOAD),
        GetParameters("ada", "job_1", "best", ["values", "statistics"]),
        Predict("ada", "job_1", None, True, False, "/tmp/y"),
        Evaluate("ada", "job_1", "last", 10, UPLOAD),
    ],
)
def test_a_request_survives_serialization(request_: Request[Any]) -> None:
    """A request read again equals the one that was written, including which options of a file were given."""
    assert REQUESTS.load(sent(REQUESTS.dump(request_))) == request_


@pytest.mark.parametrize(
    "planned",
    [
        PLANNED,
        replace(PLANNED, dataset="ds_3", start=None, idempotency=None, other_dataset_ids=[]),
    ],
)
def test_a_planned_job_survives_serialization(planned: PlannedJob) -> None:
    """A planned job reaches the service process with the rows and ids that the helper made."""
    assert PlanJob.answers.load(sent(PlanJob.answers.dump(planned))) == planned


@pytest.mark.parametrize(
    "stored",
    [
        UploadStored(new_dataset(), "u1", "f", ["w"]),
        UploadStored(new_parameter_set(), "u1", "f"),
        UploadStored("ds_1", "u1", "f"),
    ],
)
def test_a_stored_upload_survives_serialization(stored: UploadStored) -> None:
    """A stored upload is a row to commit, or the id of what exists."""
    assert ReadDataset.answers.load(sent(ReadDataset.answers.dump(stored))) == stored


def test_a_request_has_the_answers_that_it_names() -> None:
    """Each member of a union can answer, and so can a problem; any other answer is an error."""
    for answer in (InBody(), InFile(), Problem("invalid-request", "x")):
        assert Predict.answers.load(Predict.answers.dump(answer)) == answer
    for other in (EarlierJob("job_1"), UploadStored("ds_1", "u1", "f")):
        with pytest.raises(UnknownMessage):
            Predict.answers.dump(other)
    with pytest.raises(UnknownMessage):
        Evaluate.answers.load({"type": "InFile"})


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest(errors=[FieldError("#/a", "One."), FieldError("#/b", "Two.")]),
        IdempotencyKeyReused(),
        QueueFull("100 jobs are queued.", retry_after_seconds=7),
    ],
)
def test_errors_keep_their_type_and_content(error: Any) -> None:
    """An error is raised in the service process as it was raised in the helper."""
    problem = PROBLEMS.load(sent(PROBLEMS.dump(Problem.of(error))))
    raised = problem.error()
    assert type(raised) is type(error)
    assert (raised.detail, raised.errors) == (error.detail, error.errors)
    assert raised.retry_after_seconds == error.retry_after_seconds
