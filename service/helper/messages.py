"""The requests that helpers understand, and their answers.

A message may come with a body of bytes. Job requests and rows are sent as the JSON that the client sent;
answers that a client receives as they are come as the body, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from service.helper.request import Lane, Problem, Request
from service.processes.messages import Messages
from service.specs.split import SplitName
from service.specs.upload import DownloadFormat, Upload
from service.storage.datasets import NewDataset
from service.storage.parameter_sets import NewParameterSet
from service.storage.planned_job import PlannedJob

ExportFormat = Literal["safetensors", "python"]


@dataclass(frozen=True)
class InBody:
    """The answer is the body that comes with this message."""


@dataclass(frozen=True)
class InFile:
    """The answer was written to the file that the request named."""


@dataclass(frozen=True)
class Exported:
    """A model was written to the file that the request named.

    Attributes:
        state: Identifies the parameters among those of the job: the epoch, and more within one.
        saved_at: When they were saved.
    """

    state: str
    saved_at: datetime


@dataclass(frozen=True)
class EarlierJob:
    """A job was already submitted with this idempotency key and this request."""

    job_id: str


@dataclass(frozen=True)
class UploadStored:
    """The content of an upload is stored.

    Attributes:
        content: The row to commit, or the id of the owner's dataset or parameter set of equal content.
        upload_digest: Digest of the upload's bytes and reading options.
        fingerprint: Fingerprint of the content and the name, for a repeated idempotency key.
        warnings: What the client should know about the reading of the upload.
    """

    content: NewDataset | NewParameterSet | str
    upload_digest: str
    fingerprint: str
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CheckJob(Request[InBody]):
    """Check the job request in the body; answer the preflight report as JSON."""

    owner: str

    @property
    def lane(self) -> Lane:
        return "checks"


@dataclass(frozen=True)
class PlanJob(Request[PlannedJob | EarlierJob]):
    """Check the job request in the body and write its data; answer the rows to commit.

    Attributes:
        owner: The client.
        key: The client's idempotency key.
    """

    owner: str
    key: str | None = None

    @property
    def lane(self) -> Lane:
        return "checks"


@dataclass(frozen=True)
class ReadDataset(Request[UploadStored]):
    """Read an upload and store its content.

    Attributes:
        owner: The client.
        name: The dataset's name; a `name` in a JSON body takes precedence.
        upload: The received file.
    """

    owner: str
    name: str | None
    upload: Upload

    @property
    def lane(self) -> Lane:
        return "files"


@dataclass(frozen=True)
class DownloadDataset(Request[InFile]):
    """Write a dataset as a file.

    Attributes:
        owner: The client.
        dataset_id: The dataset.
        format: Format of the file.
        keep_formulas: Whether text in CSV that spreadsheets would run as a formula stays as it is.
        answer_file: Path of the file.
    """

    owner: str
    dataset_id: str
    format: DownloadFormat
    keep_formulas: bool
    answer_file: str

    @property
    def lane(self) -> Lane:
        return "files"


@dataclass(frozen=True)
class GetRows(Request[InBody]):
    """Read up to `limit` rows of a dataset, starting at row `offset`."""

    owner: str
    dataset_id: str
    offset: int
    limit: int


@dataclass(frozen=True)
class ReadParameterSet(Request[UploadStored]):
    """Check a file of parameters and store it.

    Attributes:
        owner: The client.
        name: The parameter set's name.
        upload: The received file.
    """

    owner: str
    name: str | None
    upload: Upload

    @property
    def lane(self) -> Lane:
        return "files"


@dataclass(frozen=True)
class DownloadParameterSet(Request[InFile]):
    """Write the file of a parameter set to a path.

    Attributes:
        owner: The client.
        parameter_set_id: The parameter set.
        answer_file: The path.
    """

    owner: str
    parameter_set_id: str
    answer_file: str

    @property
    def lane(self) -> Lane:
        return "files"


@dataclass(frozen=True)
class GetParameters(Request[InBody]):
    """Read all parameters and buffers of a job's model.

    Attributes:
        owner: The client.
        job_id: The job.
        checkpoint: `last`, `best` or an epoch; None: `best` with `restore_best`, else `last`.
        include: Any of `values`, `gradients` and `statistics`.
    """

    owner: str
    job_id: str
    checkpoint: str | None
    include: Sequence[str]


@dataclass(frozen=True)
class GetParameter(Request[InBody]):
    """Read one parameter or buffer of a job's model with its values."""

    owner: str
    job_id: str
    checkpoint: str | None
    name: str


@dataclass(frozen=True)
class Predict(Request[InBody | InFile]):
    """Predict for the rows of the body or of an upload.

    Attributes:
        owner: The client.
        job_id: The job.
        checkpoint: As in `GetParameters`.
        as_csv: Whether to answer CSV instead of JSON.
        keep_formulas: Whether text in CSV that spreadsheets would run as a formula stays as it is.
        answer_file: Path of the file to write predictions of many rows to.
        upload: The received file; None: the rows are in the body, as JSON.
    """

    owner: str
    job_id: str
    checkpoint: str | None
    as_csv: bool
    keep_formulas: bool
    answer_file: str
    upload: Upload | None = None

    @property
    def lane(self) -> Lane:
        return "results" if self.upload is None else "files"


@dataclass(frozen=True)
class Predicted:
    """The answers to a `PredictRows`, in the order of its parts.

    Attributes:
        parts: For each part, the length of its answer in the body, in bytes; its error; or None if it needs a
            `Predict` of its own, because it names a dataset or has many rows.
    """

    parts: Sequence[int | Problem | None]


@dataclass(frozen=True)
class PredictRows(Request[Predicted]):
    """Predict for rows of several clients of one model; each part gets the answer that it would get alone.

    Attributes:
        owner: The owner of the job.
        job_id: The job.
        checkpoint: As in `GetParameters`.
        lengths: Lengths of the parts in the body, in bytes; each is a JSON document.
    """

    owner: str
    job_id: str
    checkpoint: str | None
    lengths: Sequence[int]


@dataclass(frozen=True)
class Evaluate(Request[InBody]):
    """Compute loss and metrics on labelled rows of the body, of an upload or of a split of the job's data.

    Attributes:
        owner: The client.
        job_id: The job.
        checkpoint: As in `GetParameters`.
        worst: Number of rows of the highest loss to report.
        upload: The received file; None: the rows are in the body, as JSON, or in `split`.
        threshold: Minimum probability for which a binary prediction is 1; None: the default.
        curves: Whether to compute curves over all thresholds.
        split: The split of the job's data; None: the rows are sent along.
    """

    owner: str
    job_id: str
    checkpoint: str | None
    worst: int
    upload: Upload | None = None
    threshold: float | None = None
    curves: bool = False
    split: SplitName | None = None

    @property
    def lane(self) -> Lane:
        return "results" if self.upload is None and self.split is None else "files"


@dataclass(frozen=True)
class ExportModel(Request[Exported]):
    """Write a job's model as a file.

    Attributes:
        owner: The client.
        job_id: The job.
        checkpoint: As in `GetParameters`.
        format: Format of the file.
        answer_file: Path of the file; None to answer only which parameters it would have.
    """

    owner: str
    job_id: str
    checkpoint: str | None
    format: ExportFormat
    answer_file: str | None


@dataclass(frozen=True)
class GetEncoding(Request[InBody]):
    """Describe how raw data become the inputs of a job's model, and what its outputs mean."""

    owner: str
    job_id: str
    checkpoint: str | None


@dataclass(frozen=True)
class GetSplit(Request[InBody]):
    """List the rows of each split of a job's data: up to `limit` of each, starting at `offset`."""

    owner: str
    job_id: str
    offset: int
    limit: int


@dataclass(frozen=True)
class GetCatalog(Request[InBody]):
    """List the names that a spec may use, with their arguments.

    Attributes:
        kind: Only names of this kind; None for all.
        name: Only this name; None for all.
    """

    kind: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class GetCatalogNames(Request[InBody]):
    """List the names of a kind, with one sentence about each."""

    kind: str


@dataclass(frozen=True)
class GetCatalogEntry(Request[InBody]):
    """Get what a name of a kind means, and its arguments."""

    kind: str
    name: str


REQUESTS = Messages[Request[Any]](
    CheckJob,
    PlanJob,
    ReadDataset,
    DownloadDataset,
    GetRows,
    ReadParameterSet,
    DownloadParameterSet,
    GetParameters,
    GetParameter,
    Predict,
    PredictRows,
    Evaluate,
    ExportModel,
    GetEncoding,
    GetSplit,
    GetCatalog,
    GetCatalogEntry,
    GetCatalogNames,
)
