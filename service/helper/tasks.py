"""The tasks of a helper: one method for each request of `service.helper.messages`."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, singledispatchmethod
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import orjson

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset, load_dataset
from service.datasets.download import write_file
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.ids import RowIds
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.request_rows import check_names, evaluation_rows
from service.datasets.profile.report import read_rows
from service.datasets.sources.compression import decompress
from service.datasets.sources.formats import FileContent
from service.datasets.sources.json import FORMS_TEXT
from service.datasets.write_dataset import write_dataset
from service.errors import (
    ContentTooLarge,
    DatasetDeleted,
    DatasetNotFound,
    FieldError,
    InvalidRequest,
    LimitExceeded,
)
from service.helper.artifact_writer import ArtifactWriter
from service.helper.catalog import entry, names_of, selected
from service.helper.fingerprint import fingerprint, job_fingerprint
from service.helper.messages import (
    CheckJob,
    DownloadDataset,
    DownloadParameterSet,
    EarlierJob,
    Evaluate,
    Exported,
    ExportModel,
    GetCatalog,
    GetCatalogEntry,
    GetCatalogNames,
    GetEncoding,
    GetParameter,
    GetParameters,
    GetRows,
    GetSplit,
    InBody,
    InFile,
    PlanJob,
    Predict,
    Predicted,
    PredictRows,
    ReadDataset,
    ReadParameterSet,
    UploadStored,
)
from service.helper.models import Models
from service.helper.problems import problem_of
from service.helper.request import Problem, Request
from service.helper.request_bodies import (
    JsonTable,
    columns_as_sent,
    in_memory,
    open_upload,
    parse_table,
    read_content,
    validated,
)
from service.inference.answer_file import write_csv, write_json
from service.inference.encoding import encoding_document
from service.inference.evaluations import Extent, evaluate_rows
from service.inference.exports import EXPORTS
from service.inference.model import TrainedModel
from service.inference.parameters import named_parameter, named_parameters
from service.inference.predictions import as_csv, predict
from service.jobs.data import JobData, split_document
from service.preflight.cache import PreflightCache
from service.preflight.preflight import Preflight
from service.preflight.result import PreflightResult
from service.processes.messages import UnknownMessage
from service.settings import Settings
from service.specs.evaluation import EvaluationRequest
from service.specs.json_document import parse_json
from service.specs.prediction import PredictionRequest
from service.specs.split import SplitName
from service.specs.upload import Upload, upload_digest
from service.storage.idempotency import IdempotencyKey
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.parameter_files import check_file
from service.training.suggestions import suggest

T = TypeVar("T")


class Tasks:
    """Run the task of a request. A task is registered for the type of its argument `request`."""

    def __init__(self, storage: Storage, settings: Settings, cache: PreflightCache) -> None:
        self._storage = storage
        self._settings = settings
        self._models = Models(storage)
        self._writer = ArtifactWriter(storage)
        self._cache = cache

    @singledispatchmethod
    def run(self, request: Request[Any], body: bytes) -> tuple[Any, bytes]:
        """Run the task of a request.

        Args:
            request: The task and its arguments.
            body: The data that came with the request.

        Returns:
            The answer, of the type that the request names, and the body to send with it.

        Raises:
            FitserveError: The client's request can't be served.
            UnknownMessage: No task is registered for this type of request.
        """
        raise UnknownMessage(f"No task is registered for `{type(request).__name__}`.")

    @run.register
    def _check_job(self, request: CheckJob, body: bytes) -> tuple[InBody, bytes]:
        document = parse_json(body)
        return InBody(), orjson.dumps(_preflight_document(self._preflight(request.owner, document)))

    @run.register
    def _plan_job(self, request: PlanJob, body: bytes) -> tuple[PlannedJob | EarlierJob, bytes]:
        document, idempotency = parse_json(body), None
        if request.key is not None:
            idempotency = IdempotencyKey(request.key, job_fingerprint(document))
            earlier = self._storage.jobs.replay(request.owner, idempotency)
            if earlier is not None:
                return EarlierJob(earlier.id), b""
        self._storage.jobs.check_room()  # a full queue refuses before the expensive check
        result = self._preflight(request.owner, document)
        return self._writer.plan_job(request.owner, result, idempotency), b""

    def _preflight(self, owner: str, document: Any) -> PreflightResult:
        return Preflight(document, owner, self._storage, self._settings, self._cache).run()

    @run.register
    def _read_dataset(self, request: ReadDataset, body: bytes) -> tuple[UploadStored, bytes]:
        self._decompress(request.upload)
        content, name = open_upload(request.upload, self._settings), request.name
        if isinstance(content, JsonTable):
            content, name_in_body = read_content(content, request.upload.options)
            name = name_in_body or name
        path = Path(request.upload.folder) / "dataset"
        stored = self._within(self._storage.room.bytes_left(), partial(write_dataset, content, path))
        dataset = self._writer.add_dataset(request.owner, stored, path, name)
        understood = fingerprint({"digest": stored.digest, "name": name})
        digest = _upload_digest(request.upload)
        return UploadStored(dataset, digest, understood, [*stored.reading_warnings]), b""

    @run.register
    def _read_parameter_set(self, request: ReadParameterSet, body: bytes) -> tuple[UploadStored, bytes]:
        path = self._decompress(request.upload)
        tensors = check_file(path)
        stored = self._writer.add_parameter_set(request.owner, path, request.name, tensors)
        known = self._storage.parameter_sets.get(request.owner, stored) if isinstance(stored, str) else stored
        understood = fingerprint({"digest": known.digest, "name": request.name})
        return UploadStored(stored, known.digest, understood), b""

    @run.register
    def _download_parameter_set(self, request: DownloadParameterSet, body: bytes) -> tuple[InFile, bytes]:
        stored = self._storage.parameter_sets.get(request.owner, request.parameter_set_id)
        self._storage.artifacts.copy(stored.artifact, Path(request.answer_file))
        return InFile(), b""

    def _decompress(self, upload: Upload) -> Path:
        """Decompress an upload into its folder, within the room on the disk; return the path of the content.

        Raises:
            StorageFull: The room is exceeded.
            ContentTooLarge: The limit of datasets is exceeded.
        """
        left = self._storage.room.disk_bytes_left()
        return self._within(left, partial(decompress, upload.body, upload.compression))

    def _within(self, bytes_left: int, write: Callable[[int], T]) -> T:
        """Write with a maximum size: that of a dataset, or the room that is left if it is less.

        Raises:
            StorageFull: The room is less, and is exceeded.
        """
        most_bytes = self._settings.max_dataset_bytes
        try:
            return write(min(most_bytes, bytes_left))
        except ContentTooLarge:
            if bytes_left < most_bytes:
                self._storage.room.check(bytes_left + 1)
            raise

    @run.register
    def _download_dataset(self, request: DownloadDataset, body: bytes) -> tuple[InFile, bytes]:
        dataset = self._dataset(request.owner, request.dataset_id)
        write_file(dataset, Path(request.answer_file), request.format, request.keep_formulas)
        return InFile(), b""

    @run.register
    def _get_rows(self, request: GetRows, body: bytes) -> tuple[InBody, bytes]:
        dataset = self._dataset(request.owner, request.dataset_id)
        document = {
            "offset": request.offset,
            "total": dataset.rows,
            "rows": read_rows(dataset, request.offset, request.limit),
        }
        return InBody(), orjson.dumps(document)

    @run.register
    def _get_parameters(self, request: GetParameters, body: bytes) -> tuple[InBody, bytes]:
        model = self._models.get(request.owner, request.job_id, request.checkpoint)
        return InBody(), orjson.dumps(named_parameters(model, request.include))

    @run.register
    def _get_parameter(self, request: GetParameter, body: bytes) -> tuple[InBody, bytes]:
        model = self._models.get(request.owner, request.job_id, request.checkpoint)
        return InBody(), orjson.dumps(named_parameter(model, request.name))

    @run.register
    def _predict(self, request: Predict, body: bytes) -> tuple[InBody | InFile, bytes]:
        model = self._models.get(request.owner, request.job_id, request.checkpoint)
        slices = predict(
            model, self._rows(request, body, PredictionRequest, model.encoding, model.encoding.read_columns)
        )
        first = next(slices)
        second = next(slices, None)
        if second is None:
            answer = orjson.dumps(first)
            if request.as_csv:
                answer = as_csv(first, model.encoding, keep_formulas=request.keep_formulas)
            return InBody(), answer
        slices = chain([first, second], slices)
        if request.as_csv:
            write_csv(Path(request.answer_file), slices, model.encoding, request.keep_formulas)
        else:
            write_json(Path(request.answer_file), slices)
        return InFile(), b""

    @run.register
    def _predict_rows(self, request: PredictRows, body: bytes) -> tuple[Predicted, bytes]:
        model = self._models.get(request.owner, request.job_id, request.checkpoint)
        parts, answers, start = list[int | Problem | None](), list[bytes](), 0
        for length in request.lengths:
            try:
                answer = _predict_one_slice(model, body[start : start + length])
            except Exception as error:
                parts.append(problem_of(error, type(request).__name__))
            else:
                parts.append(None if answer is None else len(answer))
                answers.append(answer or b"")
            start += length
        return Predicted(parts), b"".join(answers)

    @run.register
    def _evaluate(self, request: Evaluate, body: bytes) -> tuple[InBody, bytes]:
        model = self._models.get(request.owner, request.job_id, request.checkpoint)
        if request.split is not None:
            raw, ids = self._own_rows(request.owner, request.job_id, request.split, model.encoding)
        else:
            columns = model.encoding.labelled_columns
            rows = self._rows(request, body, EvaluationRequest, model.encoding, columns)
            raw = evaluation_rows(model.encoding, rows)
            ids = RowIds(model.encoding.id, rows, raw.dataset.rows)
        extent = Extent(request.worst, request.threshold, request.curves)
        return InBody(), orjson.dumps(evaluate_rows(model, raw, extent, ids))

    def _own_rows(
        self, owner: str, job_id: str, split: SplitName, encoding: Encoding
    ) -> tuple[RawRows, RowIds]:
        """Find the rows of a split of a job's own data, and their ids."""
        try:
            data = JobData.of(self._storage.jobs.get(owner, job_id), self._storage)
        except DatasetNotFound as error:
            raise DatasetDeleted(error.detail) from None
        raw = data.raw_rows(split, encoding)
        if not len(raw.rows):
            raise InvalidRequest(errors=[FieldError("?split", f"The job has no {split} rows.")])
        return raw, data.row_ids(split, encoding)

    @run.register
    def _export_model(self, request: ExportModel, body: bytes) -> tuple[Exported, bytes]:
        model, saved = self._models.get_saved(request.owner, request.job_id, request.checkpoint)
        if request.answer_file is not None:
            Path(request.answer_file).write_bytes(EXPORTS[request.format](model))
        # Within an epoch, the last parameters differ from those at its end, which may be the best.
        within = f".{saved.step}-{request.checkpoint or 'default'}" if saved.step else ""
        return Exported(f"{model.epoch}{within}", saved.created_at), b""

    @run.register
    def _get_encoding(self, request: GetEncoding, body: bytes) -> tuple[InBody, bytes]:
        model = self._models.get(request.owner, request.job_id, request.checkpoint)
        return InBody(), orjson.dumps(encoding_document(model))

    @run.register
    def _get_split(self, request: GetSplit, body: bytes) -> tuple[InBody, bytes]:
        data = JobData.of(self._storage.jobs.get(request.owner, request.job_id), self._storage)
        return InBody(), orjson.dumps(split_document(data, request.offset, request.limit))

    @run.register
    def _get_catalog(self, request: GetCatalog, body: bytes) -> tuple[InBody, bytes]:
        return InBody(), orjson.dumps(selected(request.kind, request.name))

    @run.register
    def _get_catalog_names(self, request: GetCatalogNames, body: bytes) -> tuple[InBody, bytes]:
        return InBody(), orjson.dumps(names_of(request.kind))

    @run.register
    def _get_catalog_entry(self, request: GetCatalogEntry, body: bytes) -> tuple[InBody, bytes]:
        return InBody(), orjson.dumps(entry(request.kind, request.name))

    def _rows(
        self,
        request: Predict | Evaluate,
        body: bytes,
        spec: type[PredictionRequest],
        encoding: Encoding,
        columns: Sequence[str],
    ) -> Mapping[str, Any] | list[Any] | Dataset:
        """Read the rows of a JSON body or of an upload.

        Args:
            request: Has the upload, if there is one.
            body: The JSON body otherwise.
            spec: The schema of a JSON body.
            encoding: Encoding of the job that trained the model.
            columns: Columns to read of an uploaded table.

        Returns:
            The JSON document, if it holds rows; a dataset, if it names one or the rows were uploaded.
        """
        if request.upload is None:
            content: FileContent | JsonTable = parse_table(body)
        else:
            reading = encoding.table_reading
            types = {name: reading.types[name] for name in columns}
            self._decompress(request.upload)
            content = open_upload(request.upload, self._settings, reading._replace(types=types))
        if not isinstance(content, JsonTable):
            assert request.upload is not None
            needed = [name for name in columns if name != encoding.weights]
            return self._with_ids(_read_for_model(content, needed), request.upload, encoding)
        document = _document_of_rows(content, spec)
        if isinstance(document, list) or document.get("dataset_id") is None:
            return document
        return self._dataset(request.owner, document["dataset_id"])

    def _with_ids(self, dataset: Dataset, upload: Upload, encoding: Encoding) -> Dataset:
        """Add the ids of an uploaded table as they were sent."""
        if not isinstance(dataset, TabularDataset) or not encoding.id:
            return dataset
        ids = columns_as_sent(upload, self._settings, encoding.table_reading, encoding.id)
        return replace(dataset, as_sent=ids)

    def _dataset(self, owner: str, dataset_id: str) -> Dataset:
        artifact = self._storage.datasets.get(owner, dataset_id).artifact
        return self._storage.artifacts.load(artifact, load_dataset)


def _predict_one_slice(model: TrainedModel, body: bytes) -> bytes | None:
    """Predict for rows of JSON; None if they are those of a dataset, or more than a slice."""
    document = _document_of_rows(parse_table(body), PredictionRequest)
    if isinstance(document, dict) and "dataset_id" in document:
        return None
    slices = predict(model, document)
    first = next(slices)
    return orjson.dumps(first) if next(slices, None) is None else None


def _document_of_rows(content: JsonTable, spec: type[PredictionRequest]) -> dict[str, Any] | list[Any]:
    """Return a JSON body with rows, or with the id of a dataset, validated."""
    document: dict[str, Any] | list[Any] = content.document
    if isinstance(document, list):
        return document
    validated(spec, document)
    if len(document.keys() - {"targets", "weights"}) != 1:
        detail = f"Give exactly one of {FORMS_TEXT}, or a `dataset_id`."
        raise InvalidRequest(errors=[FieldError("#", detail)])
    return document


def _read_for_model(content: FileContent, needed: Sequence[str]) -> Dataset:
    """Read a file that is sent to a model.

    Args:
        content: The file.
        needed: The columns that the model needs.

    Raises:
        InvalidRequest: The file has errors; those in cells don't hide the columns that are missing.
    """
    try:
        return in_memory(content)
    except LimitExceeded:
        raise
    except InvalidRequest as error:
        if not isinstance(content, TensorDataset):
            check_names(needed, content.column_names, "#/columns", error.errors)
        raise InvalidRequest(errors=error.errors) from None


def _upload_digest(upload: Upload) -> str:
    with upload.body.open("rb") as file:
        return upload_digest(hashlib.file_digest(file, "sha256").hexdigest(), upload.options)


def _preflight_document(result: PreflightResult) -> dict[str, Any]:
    suggestion = suggest(result.dataset, result.request["data"].get("targets", ()))
    return {
        "valid": True,
        "name": result.name,
        **result.request,
        "used": result.used,
        **result.report,
        "suggestions": suggestion and suggestion.document(),
        "parameter_count": result.parameter_count,
        "memory_estimate_bytes": result.memory_estimate_bytes,
    }
