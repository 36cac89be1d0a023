"""Results of a job: history, checkpoints, parameters, predictions, evaluations and the model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, field_validator

from service.api.http import requests, uploads
from service.api.http.conditions import Version, is_conditional
from service.api.http.downloads import Download, answer_file, downloads, not_modified
from service.api.http.negotiation import CSV, FORMATS, AcceptedMediaType
from service.api.http.responses import TEXT, json_response, problems, rows_body, streamed, timestamp
from service.api.http.route import DocumentedRoute
from service.api.http.tables import TableQuery, csv_response, records_response
from service.api.routes.prediction_route import PredictionRoute
from service.api.schemas import results as schemas
from service.api.state import Owner, Services, ServicesDependency
from service.errors import (
    BadRequest,
    CheckpointNotFound,
    ContentTooLarge,
    DatasetDeleted,
    DatasetNotFound,
    FieldError,
    InvalidRequest,
    JobNotFound,
    LimitExceeded,
    NoCheckpointYet,
    ParameterNotFound,
    PreconditionFailed,
    UnsupportedMediaType,
)
from service.helper.messages import (
    Evaluate,
    ExportFormat,
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
from service.specs.base import published
from service.specs.evaluation import EvaluationRequest
from service.specs.prediction import PredictionRequest
from service.specs.split import SplitName
from service.specs.upload import Upload

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], route_class=DocumentedRoute)

A = TypeVar("A")
Q = TypeVar("Q", bound=uploads.ReadQuery)

Checkpoint = Annotated[str, Field(pattern=r"^(last|best|0|[1-9]\d{0,15})$")]
_SPLIT_OR_BODY = "Rows are in the body, or in a `split` of the job: give one of them."
_NO_ROWS = "Send rows with their targets, or name rows of the job: `?split=validation`."
_MODEL_ERRORS = (JobNotFound, CheckpointNotFound, NoCheckpointYet, InvalidRequest, LimitExceeded)


class HistoryParameters(TableQuery):
    """Selection of epochs."""

    every: requests.Epoch | None = None
    """Only return epoch 1 and the multiples of this number."""
    from_epoch: requests.Epoch | None = None
    """First epoch to return."""
    to_epoch: requests.Epoch | None = None
    """Last epoch to return."""
    max_points: Annotated[requests.Epoch, Field(ge=2)] | None = None
    """Maximum number of epochs, evenly spaced, including the first and the last."""


class CheckpointQuery(requests.Query):
    """Selection of a checkpoint."""

    checkpoint: Checkpoint | None = None
    """Checkpoint: `last`, `best` or an epoch. Default: `best` with `restore_best` if there is a best epoch,
    otherwise `last`."""


class FileQuery(CheckpointQuery, uploads.ReadQuery):
    """Selection of a checkpoint, and options for reading a file."""


class PredictQuery(FileQuery, TableQuery):
    """Selection of a checkpoint, and options for reading a file and writing the answer."""


class EvaluationQuery(FileQuery, TableQuery):
    """Selection of a checkpoint and of rows, options for reading a file, and the extent of the report."""

    split: SplitName | None = None
    """Evaluate the `train`, `validation` or `test` rows of the job; the request then has no body."""
    worst: Annotated[int, Field(ge=0, le=1000)] = 10
    """Number of rows with the highest loss to return."""
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """For targets of 0 and 1 or of two classes: probability from which on a row is predicted as 1, or as the
    second class, in labels, confusion matrix, figures per class and metrics. Default: 0.5, and in metrics the
    `threshold` of the job."""
    curves: bool = False
    """If true, return ROC and precision-recall curves of a classification."""


_INCLUDED = "(values|gradients|statistics)"


class ParametersQuery(CheckpointQuery, TableQuery):
    """Selection of a checkpoint, and of what to return for each parameter."""

    include: Annotated[str, published(pattern=rf"^\s*{_INCLUDED}?\s*(,\s*{_INCLUDED}?\s*)*$")] = ""
    """Comma-separated list of `values`, `gradients` and `statistics`."""

    @field_validator("include")
    @classmethod
    def _known(cls, value: str) -> str:
        unknown = {part.strip() for part in value.split(",")} - {"", "values", "gradients", "statistics"}
        if unknown:
            raise ValueError("Should be some of values, gradients and statistics, separated by commas.")
        return value


class SplitQuery(TableQuery):
    """Range of rows of each split."""

    offset: requests.Offset = 0
    """Number of rows to skip in each split."""
    limit: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Maximum number of rows to return for each split."""


# Suffix of the file, by format.
_SUFFIXES: Mapping[ExportFormat, str] = {"safetensors": "safetensors", "python": "py"}
_EXPORTS: Mapping[str, ExportFormat] = {FORMATS[name]: name for name in _SUFFIXES}


class ModelQuery(CheckpointQuery):
    """Selection of a checkpoint and a file format."""

    format: ExportFormat | None = None
    """`safetensors` for the `state_dict` (`load_state_dict(strict=True)` accepts it); `python` for the source
    code of the module. Default: by `Accept`, otherwise `safetensors`."""


@router.get(
    "/history",
    response_model=schemas.History,
    responses={
        200: {"content": {CSV: TEXT}, "description": "The history, as JSON or CSV."},
        **problems(JobNotFound, InvalidRequest),
    },
)
def get_history(
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[HistoryParameters, Query()],
) -> Response:
    """Get losses, metrics and learning rate by epoch, also while the job is running.

    `Accept: text/csv` returns CSV.
    """
    services.storage.jobs.get(owner, job_id)
    rows = services.storage.history.rows(job_id, query.from_epoch, query.to_epoch)
    chunks = [HistoryChunk.unpack(row.first_epoch, row.payload) for row in rows]
    history = HistoryChunk.join(chunks) if chunks else None
    wanted = HistoryQuery(query.every, query.from_epoch, query.to_epoch, query.max_points)
    if media_type == CSV:
        columns = flat_columns(history, wanted)
        return csv_response([*columns], zip(*columns.values(), strict=True), query)
    return json_response(history_document(history, wanted))


@router.get(
    "/checkpoints",
    response_model=schemas.CheckpointPage,
    responses={200: {"content": {CSV: TEXT}}, **problems(JobNotFound)},
)
def list_checkpoints(
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[TableQuery, Query()],
) -> Response:
    """List the checkpoints of a job: the newest one, and the latest of those saved by `checkpoint_every`."""
    items = [
        {
            "epoch": checkpoint.epoch,
            "step": checkpoint.step,
            "bytes": checkpoint.bytes,
            "created_at": timestamp(checkpoint.created_at),
        }
        for checkpoint in reversed(services.storage.checkpoints.of_job(owner, job_id))
    ]
    if media_type == CSV:
        return records_response(items, query)
    return json_response({"items": items, "next_page_token": None})


@router.get(
    "/named_parameters",
    response_model=schemas.NamedParameters,
    responses={200: {"content": {CSV: TEXT}}, **problems(*_MODEL_ERRORS)},
)
async def get_named_parameters(
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[ParametersQuery, Query()],
) -> Response:
    """Get the names and shapes of the model's parameters; values, gradients and statistics on request.

    In CSV, each parameter and buffer is a line; shapes, values and gradients in it are JSON.
    """
    include = [part.strip() for part in query.include.split(",") if part.strip()]
    _, body = await services.helpers.call(GetParameters(owner, job_id, query.checkpoint, include))
    if media_type == CSV:
        return await run_in_threadpool(_parameters_as_csv, body, query)
    return json_response(body)


def _parameters_as_csv(body: memoryview, query: ParametersQuery) -> Response:
    document = orjson.loads(body)
    tensors = [
        {"kind": kind, **{name: _as_text(value) for name, value in tensor.items()}}
        for kind in ("parameter", "buffer")
        for tensor in document[f"{kind}s"]
    ]
    return records_response(tensors, query)


def _as_text(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list) else value


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
    """Get a parameter with its values and the gradient of the last step."""
    _, body = await services.helpers.call(GetParameter(owner, job_id, query.checkpoint, name))
    return json_response(body)


async def predict(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[PredictQuery, Query()],
) -> Response:
    """Predict for new rows: transforms of features are applied, those of targets inverted.

    The body has the formats of `POST /v1/datasets`. Columns may have any order; other columns are ignored.
    """
    path = services.spool.new_path()

    def helper_request(said: PredictQuery, upload: Upload | None) -> Predict:
        keep_formulas = said.formulas == "keep"
        return Predict(owner, job_id, said.checkpoint, media_type == CSV, keep_formulas, str(path), upload)

    try:
        answer, body = await _of_rows(request, services, query, helper_request)
        if isinstance(answer, InFile):
            return await run_in_threadpool(streamed, path, media_type)
        return Response(body, media_type=media_type)
    finally:
        path.unlink(missing_ok=True)  # already open for streaming, or left by a helper that was killed


router.add_api_route(
    "/predictions",
    predict,
    methods=["POST"],
    response_model=schemas.Predictions,
    openapi_extra=rows_body(PredictionRequest),
    responses={
        200: {"content": {CSV: TEXT}, "description": "The predictions, as JSON or CSV."},
        **problems(BadRequest, ContentTooLarge, UnsupportedMediaType, *_MODEL_ERRORS),
    },
    route_class_override=PredictionRoute,
)


@router.post(
    "/evaluations",
    response_model=schemas.Evaluation,
    openapi_extra=rows_body(EvaluationRequest, required=False),
    responses={
        200: {"content": {CSV: TEXT}},
        **problems(BadRequest, ContentTooLarge, UnsupportedMediaType, DatasetDeleted, *_MODEL_ERRORS),
    },
)
async def evaluate(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[EvaluationQuery, Query()],
) -> Response:
    """Evaluate on labelled rows: loss, metrics, reports of classes or residuals, and the worst rows.

    The rows are those of the body, in the formats of `POST /v1/datasets`, or without a body those of a
    `split` of the job. Columns may have any order; other columns are ignored. In CSV, the answer is the table
    of the worst rows.
    """

    def helper_request(said: EvaluationQuery, upload: Upload | None) -> Evaluate:
        if said.split is not None and upload is not None:
            raise InvalidRequest(errors=[FieldError("?split", _SPLIT_OR_BODY)])
        return Evaluate(
            owner, job_id, said.checkpoint, said.worst, upload, said.threshold, said.curves, said.split
        )

    if query.split is None:
        if requests.declares_no_body(request):
            raise InvalidRequest(errors=[FieldError("#", _NO_ROWS)])
        _, body = await _of_rows(request, services, query, helper_request)
    elif await requests.has_body(request):
        raise InvalidRequest(errors=[FieldError("?split", _SPLIT_OR_BODY)])
    else:  # as many rows as a file may have
        _, body = await uploads.call(services, helper_request(query, None))
    if media_type == CSV:
        return await run_in_threadpool(lambda: records_response(orjson.loads(body)["worst"], query))
    return json_response(body)


async def _of_rows(
    request: Request,
    services: Services,
    query: Q,
    helper_request: Callable[[Q, Upload | None], HelperRequest[A]],
) -> tuple[A, memoryview]:
    """Call a helper with the rows in a body: JSON is sent along, a file is received into a folder.

    Args:
        helper_request: Creates the request from the query, merged with the parts of a form, and the received
            file; None for JSON.
    """
    if uploads.is_plain_json(request, query):
        async with services.bodies.read(request) as body:
            return await services.helpers.call(helper_request(query, None), body)
    async with uploads.receive(request, services, query) as (upload, said):
        return await uploads.call(services, helper_request(said, upload))


@router.get(
    "/model",
    response_class=Response,
    responses={
        **downloads("The trained model.", _EXPORTS),
        **problems(PreconditionFailed, *_MODEL_ERRORS),
    },
)
async def download_model(
    request: Request,
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[ModelQuery, Query()],
) -> Response:
    """Download the trained model."""
    name = query.format or _EXPORTS[media_type]

    async def export(path: Path | None) -> Version:
        request = ExportModel(owner, job_id, query.checkpoint, name, None if path is None else str(path))
        exported, _ = await services.helpers.call(request)
        return Version(f"{job_id}-{exported.state}-{name}", exported.saved_at)

    if is_conditional(request):
        version = await export(None)
        version.check_read(request)
        if version.is_known_since(request):
            return not_modified(version)
    with answer_file(services.spool.new_path()) as path:
        version = await export(path)
        version.check_read(request)  # it may be a later one
        return Download(path, FORMATS[name], f"{job_id}.{_SUFFIXES[name]}", version)


@router.get("/encoding", response_model=schemas.Encoding, responses=problems(*_MODEL_ERRORS))
async def get_encoding(
    services: ServicesDependency, owner: Owner, job_id: str, query: Annotated[CheckpointQuery, Query()]
) -> Response:
    """Get the encoding of raw data as model inputs, with fitted constants, and the meaning of the outputs."""
    _, body = await services.helpers.call(GetEncoding(owner, job_id, query.checkpoint))
    return json_response(body)


@router.get(
    "/split",
    response_model=schemas.SplitRows,
    responses={
        200: {"content": {CSV: TEXT}},
        **problems(JobNotFound, DatasetNotFound, InvalidRequest, LimitExceeded),
    },
)
async def get_split(
    services: ServicesDependency,
    owner: Owner,
    job_id: str,
    media_type: AcceptedMediaType,
    query: Annotated[SplitQuery, Query()],
) -> Response:
    """Get the row indices of a job's train, validation and test split.

    In CSV, each is a line with its split and dataset.
    """
    _, body = await services.helpers.call(GetSplit(owner, job_id, query.offset, query.limit))
    if media_type == CSV:
        return await run_in_threadpool(_split_as_csv, orjson.loads(body), query)
    return json_response(body)


def _split_as_csv(document: dict[str, Any], query: SplitQuery) -> Response:
    rows = ((split, rows["dataset_id"], row) for split, rows in document.items() for row in rows["rows"])
    return csv_response(["split", "dataset_id", "row"], rows, query)
