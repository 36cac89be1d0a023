"""What a job's training gives: history, checkpoints, parameters, predictions, evaluations, the model."""

import csv
import io
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, field_validator

from service.api.http import requests, uploads
from service.api.http.responses import file_body, json_response, problems, streamed, timestamp
from service.api.http.route import DocumentedRoute
from service.api.schemas import results as schemas
from service.api.state import Owner, Services, ServicesDependency
from service.errors import (
    BadRequest,
    CheckpointNotFound,
    ContentTooLarge,
    DatasetNotFound,
    InvalidRequest,
    JobNotFound,
    LimitExceeded,
    NoCheckpointYet,
    ParameterNotFound,
    UnsupportedMediaType,
)
from service.helper.messages import (
    Evaluate,
    ExportModel,
    GetEncoding,
    GetParameter,
    GetParameters,
    GetSplit,
    InFile,
    Predict,
)
from service.helper.request import Request as HelperRequest
from service.history import HistoryChunk, HistoryQuery, flat_columns, history_document
from service.specs.evaluation import EvaluationRequest
from service.specs.prediction import PredictionRequest
from service.specs.upload import Upload

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], route_class=DocumentedRoute)

A = TypeVar("A")

Checkpoint = Annotated[str, Field(pattern=r"^(last|best|[1-9]\d{0,15})$")]
_MODEL_ERRORS = (JobNotFound, CheckpointNotFound, NoCheckpointYet, InvalidRequest, LimitExceeded)


class HistoryParameters(requests.Query):
    """Which epochs to read."""

    every: requests.Epoch | None = None
    """Epoch 1 and each multiple of this."""
    from_epoch: requests.Epoch | None = None
    """The first epoch to read."""
    to_epoch: requests.Epoch | None = None
    """The last epoch to read."""
    max_points: Annotated[requests.Epoch, Field(ge=2)] | None = None
    """At most so many epochs, evenly spaced, the first and the last included."""


class CheckpointQuery(requests.Query):
    """Which parameters to take."""

    checkpoint: Checkpoint | None = None
    """`last`, `best` or an epoch; default: `best` with `restore_best`, else `last`."""


class PredictQuery(CheckpointQuery, uploads.ReadQuery):
    """Which parameters to predict with, and how to read a file."""


class EvaluationQuery(PredictQuery):
    """Which parameters to evaluate, how to read a file, and what to tell."""

    worst: Annotated[int, Field(ge=0, le=1000)] = 10
    """How many rows of the highest loss to show."""


class ParametersQuery(CheckpointQuery):
    """What to tell of each parameter."""

    include: str = ""
    """Comma-separated: `values`, `gradients`, `statistics`."""

    @field_validator("include")
    @classmethod
    def _known(cls, value: str) -> str:
        unknown = {part.strip() for part in value.split(",")} - {"", "values", "gradients", "statistics"}
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: give values, gradients, statistics.")
        return value


class SplitQuery(requests.Query):
    """Which part of each side."""

    offset: requests.Offset = 0
    """Rows of each side to pass over."""
    limit: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Rows of each side to give, at most."""


# The file's suffix and media type.
_FORMATS = {"safetensors": ("safetensors", "application/octet-stream"), "python": ("py", "text/x-python")}


class ModelQuery(CheckpointQuery):
    """In which form to download the model."""

    format: Literal["safetensors", "python"] = "safetensors"
    """`safetensors` loads with `load_state_dict(strict=True)`; `python` is the source of the module."""


@router.get(
    "/history",
    response_model=schemas.History,
    responses={
        200: {"content": {requests.CSV: {}}, "description": "The history, also as CSV."},
        **problems(JobNotFound, InvalidRequest),
    },
)
def get_history(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    query: Annotated[HistoryParameters, Query()],
) -> Response:
    """Losses, metrics and learning rate by epoch, while the job runs and after; as CSV on request."""
    services.storage.jobs.get(owner, job_id)
    rows = services.storage.history.rows(job_id, query.from_epoch, query.to_epoch)
    chunks = [HistoryChunk.unpack(row.first_epoch, row.payload) for row in rows]
    history = HistoryChunk.join(chunks) if chunks else None
    wanted = HistoryQuery(query.every, query.from_epoch, query.to_epoch, query.max_points)
    if requests.accepts_csv(request):
        return Response(_csv(flat_columns(history, wanted)), media_type=requests.CSV)
    return json_response(history_document(history, wanted))


def _csv(columns: dict[str, list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


@router.get("/checkpoints", response_model=schemas.CheckpointPage, responses=problems(JobNotFound))
def list_checkpoints(services: ServicesDependency, owner: Owner, job_id: str) -> Response:
    """The job's checkpoints: the newest, and those that `checkpoint_every` asks for, the last of them."""
    items = [
        {
            "epoch": checkpoint.epoch,
            "step": checkpoint.step,
            "bytes": checkpoint.bytes,
            "created_at": timestamp(checkpoint.created_at),
        }
        for checkpoint in reversed(services.storage.checkpoints.of_job(owner, job_id))
    ]
    return json_response({"items": items, "next_page_token": None})


@router.get("/named_parameters", response_model=schemas.NamedParameters, responses=problems(*_MODEL_ERRORS))
async def get_named_parameters(
    services: ServicesDependency, owner: Owner, job_id: str, query: Annotated[ParametersQuery, Query()]
) -> Response:
    """The model's parameters by name; values, gradients and statistics on request."""
    include = [part.strip() for part in query.include.split(",") if part.strip()]
    _, body = await services.helpers.call(GetParameters(owner, job_id, query.checkpoint, include))
    return json_response(body)


@router.get(
    "/named_parameters/{name:path}",
    response_model=schemas.Parameter,
    responses=problems(ParameterNotFound, *_MODEL_ERRORS),
)
async def get_named_parameter(
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    name: str,
    query: Annotated[CheckpointQuery, Query()],
) -> Response:
    """One parameter with its values and the gradient of the last step."""
    _, body = await services.helpers.call(GetParameter(owner, job_id, query.checkpoint, name))
    return json_response(body)


@router.post(
    "/predictions",
    response_model=schemas.Predictions,
    openapi_extra=file_body(PredictionRequest),
    responses={
        200: {"content": {requests.CSV: {}}, "description": "The predictions, also as CSV."},
        **problems(BadRequest, ContentTooLarge, UnsupportedMediaType, *_MODEL_ERRORS),
    },
)
async def predict(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    query: Annotated[PredictQuery, Query()],
) -> Response:
    """Predict for new rows: the features' transforms are applied, the targets' are undone.

    Bodies are those of `POST /v1/datasets`; columns come in any order, and others are ignored.
    """
    as_csv = requests.accepts_csv(request)
    answer_type = requests.CSV if as_csv else requests.JSON
    place = services.spool.place()

    def helper_request(checkpoint: str | None, upload: Upload | None) -> Predict:
        return Predict(owner, job_id, checkpoint, as_csv, str(place), upload)

    try:
        answer, body = await _of_rows(request, services, query, helper_request)
        if isinstance(answer, InFile):
            return await run_in_threadpool(streamed, place, answer_type)
        return Response(body, media_type=answer_type)
    finally:
        place.unlink(missing_ok=True)  # it is open, or a helper was ended while it wrote


@router.post(
    "/evaluations",
    response_model=schemas.Evaluation,
    openapi_extra=file_body(EvaluationRequest),
    responses=problems(BadRequest, ContentTooLarge, UnsupportedMediaType, *_MODEL_ERRORS),
)
async def evaluate(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    query: Annotated[EvaluationQuery, Query()],
) -> Response:
    """Evaluate on labelled rows: the training's loss and metrics, a confusion matrix, the worst rows.

    Bodies are those of `POST /v1/datasets`; columns come in any order, and others are ignored.
    """

    def helper_request(checkpoint: str | None, upload: Upload | None) -> Evaluate:
        return Evaluate(owner, job_id, checkpoint, query.worst, upload)

    _, body = await _of_rows(request, services, query, helper_request)
    return json_response(body)


async def _of_rows(
    request: Request,
    services: Services,
    query: PredictQuery,
    helper_request: Callable[[str | None, Upload | None], HelperRequest[A]],
) -> tuple[A, memoryview]:
    """Have a helper work on the rows in a body: JSON that is sent along, or a file in its folder.

    Args:
        helper_request: Makes the request of a checkpoint and of the received file, if there is one.
    """
    if uploads.is_plain_json(request, query):
        async with services.bodies.read(request) as body:
            return await services.helpers.call(helper_request(query.checkpoint, None), body)
    async with uploads.receive(request, services, query) as (upload, said):
        return await uploads.call(services, helper_request(said.checkpoint, upload))


@router.get(
    "/model",
    response_class=Response,
    responses={
        200: {
            "content": {media_type: {} for _, media_type in _FORMATS.values()},
            "description": "The trained model.",
        },
        **problems(*_MODEL_ERRORS),
    },
)
async def download_model(
    services: ServicesDependency, owner: Owner, job_id: str, query: Annotated[ModelQuery, Query()]
) -> Response:
    """Download the trained model."""
    _, body = await services.helpers.call(ExportModel(owner, job_id, query.checkpoint, query.format))
    suffix, media_type = _FORMATS[query.format]
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.{suffix}"'}
    return Response(body, headers=headers, media_type=media_type)


@router.get("/encoding", response_model=schemas.Encoding, responses=problems(*_MODEL_ERRORS))
async def get_encoding(
    services: ServicesDependency, owner: Owner, job_id: str, query: Annotated[CheckpointQuery, Query()]
) -> Response:
    """How raw data become the model's inputs, with the fitted constants, and what its outputs mean."""
    _, body = await services.helpers.call(GetEncoding(owner, job_id, query.checkpoint))
    return json_response(body)


@router.get(
    "/split",
    response_model=schemas.SplitRows,
    responses=problems(JobNotFound, DatasetNotFound, InvalidRequest, LimitExceeded),
)
async def get_split(
    services: ServicesDependency, owner: Owner, job_id: str, query: Annotated[SplitQuery, Query()]
) -> Response:
    """Which rows of its data a job trains, validates and tests on."""
    _, body = await services.helpers.call(GetSplit(owner, job_id, query.offset, query.limit))
    return json_response(body)
