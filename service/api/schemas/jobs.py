"""Jobs: records, pages, and the preflight report."""

from typing import Literal

from pydantic import ConfigDict
from typing_extensions import TypeAliasType

from service.api.schemas.base import DeviceName, Labels, Resource, Shape, Timestamp
from service.api.schemas.problems import FieldProblem, Problem
from service.specs.architecture import ArchitectureSpec
from service.specs.base import DatasetId, JobId
from service.specs.data import DatasetReference
from service.specs.job import Device, Engine, JobStatus, Parallel, Precision, StopReason
from service.specs.names import LossName, MetricName
from service.specs.training import TrainingSpec

Dimension = TypeAliasType("Dimension", int | str)
"""Size of a dimension, or an expression of the batch size `B`."""


class Progress(Resource):
    """Progress of a job."""

    epoch: int
    """Completed epochs."""
    epochs: int
    """Requested epochs."""
    fraction: float
    """`epoch / epochs`; of a job without epochs, 1 once it has succeeded."""
    eta_seconds: float | None
    """Estimated seconds until the end; null unless the job is running."""


class EpochValuesInTargetUnits(Resource):
    """Loss and metrics of one epoch in the units of the targets, each with its value by split."""

    loss: dict[Literal["train", "validation"], float | None] | None = None
    metrics: dict[str, dict[Literal["train", "validation"], float | None]]
    """Metrics by name."""


class EpochValues(Resource):
    """Losses and metrics of one epoch."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    metrics: dict[str, dict[Literal["train", "validation"], float | None]]
    """Metrics by name, each with its `train` and `validation` value."""
    in_target_units: EpochValuesInTargetUnits | None = None
    """For a regression of transformed targets: loss and metrics in the units of the targets."""


class InTargetUnits(Resource):
    """Loss and metrics of outputs and targets in the units of the targets."""

    loss: float | None = None
    """For `MSELoss`, `L1Loss`, `HuberLoss` and `SmoothL1Loss`: the loss of the values in these units. `delta`
    and `beta` are then in these units, too. Absent for other losses."""
    metrics: dict[str, float | None]
    """Metrics by name."""


class TestValues(Resource):
    """Loss and metrics on the test rows, computed once after training."""

    loss: float | None
    metrics: dict[str, float | None]
    """Metrics by name."""
    in_target_units: InTargetUnits | None = None
    """For a regression of transformed targets: loss and metrics in the units of the targets."""


class EngineEstimate(Resource):
    """Estimated time of all epochs by each engine, in seconds, with the costs of a typical machine.

    `auto` chooses by it. `timings` says what a job took: `training_seconds` and `compile_seconds`."""

    eager_seconds: float
    """By the eager engine."""
    compiled_seconds: float
    """By the compiled engine, for a job that trains alone, without compiling."""
    grouped_seconds: float
    """The same for each job of a group of 64."""
    compile_seconds: float
    """Time to trace and compile, which later jobs of the same group save."""


class Used(Resource):
    """Resources that a job runs with, chosen at submission."""

    device: DeviceName
    """`cpu` or `cuda:N`."""
    engine: Literal["eager", "compiled"]
    """Engine that executes the steps: `eager` or `compiled`."""
    engine_reason: str | None
    """Why `auto` chose the eager engine."""
    estimate: EngineEstimate | None = None
    """Estimated seconds of both engines; null for an engine `eager` that was requested, for a training that
    cannot be compiled, for one of very few steps, and for a continuation."""
    threads: int
    """CPU threads; floating-point results depend on their number."""


class Timings(Resource):
    """Duration of each phase, in seconds."""

    queue_seconds: float
    """Time from submission to start."""
    setup_seconds: float
    """Time to read the data and build the model."""
    compile_seconds: float
    """Time to trace and compile; near zero when the worker has already run a job of the same shape."""
    training_seconds: float
    """Time spent on epochs, over all attempts."""
    saving_seconds: float
    """Time spent on writing checkpoints."""


class Job(Resource):
    """A training job."""

    id: JobId
    name: str | None
    priority: int
    """Priority in the queue; jobs with a higher one start first."""
    status: JobStatus
    stop_reason: StopReason | None
    """Why the job ended; null until then."""
    created_at: Timestamp
    """Time of submission."""
    started_at: Timestamp | None
    finished_at: Timestamp | None
    queue_position: int | None
    """Position in the queue, starting at 1; null when the job is not queued."""
    progress: Progress
    latest: EpochValues | None
    """Values of the last epoch."""
    best: EpochValues | None
    """Values of the best epoch: the one with the lowest validation loss, or with the best value of the
    quantity that early stopping monitors."""
    test: TestValues | None
    """Values on the test rows; null until the job has ended, and without test rows."""
    dataset_id: DatasetId
    """Id of the training dataset; inline data is stored as a dataset."""
    data: DatasetReference
    """The requested `data` with defaults filled in; the values are in the dataset."""
    architecture: ArchitectureSpec
    """The requested `architecture` with defaults and inferred sizes filled in."""
    training: TrainingSpec
    """The requested `training` with defaults filled in, including a generated seed."""
    device: Device
    """The requested device."""
    engine: Engine
    """The requested engine."""
    precision: Precision
    """The requested precision."""
    parallel: Parallel | None = None
    """The requested processes; absent for one."""
    used: Used
    timings: Timings | None
    """Duration of each phase; null until the job has ended."""
    parameter_count: int
    """Total number of elements in all parameters."""
    memory_estimate_bytes: int
    """Estimated memory of the model, the optimizer state and one step."""
    attempt: int
    """Number of times a worker has claimed the job."""
    warnings: list[FieldProblem]
    """Valid but suspicious values of the request, as in the preflight report; its log has them too."""
    error: Problem | None
    """Why the job failed; null unless its status is `failed`."""
    cancel_requested: bool
    pause_requested: bool
    links: dict[str, str]
    """Paths of related resources."""


class JobPage(Resource):
    """A page of jobs, newest first."""

    items: list[Job]
    next_page_token: str | None
    """Token of the next page; null on the last page."""


class Layer(Resource):
    """A layer and the shapes that the preflight traced through it."""

    path: str
    """Name within the model, e.g. `0` or `encoder.hidden`."""
    type: str
    input_shape: list[Dimension] | None
    """Shape of the input; `B` is the batch dimension."""
    output_shape: list[Dimension] | None
    parameters: int


class ModelInput(Resource):
    """An input of the model."""

    name: str
    shape: Shape
    """Shape; the first dimension, null, is the batch dimension."""
    dtype: Literal["float32", "int64"]
    columns: list[str] | None
    """Meaning of each column of a tabular input: `age`, `island=Biscoe`, `age_missing`."""


class ModelOutput(Resource):
    """An output of the model."""

    name: str
    """Its name in `outputs` of the architecture; otherwise its key or position in what `forward` returns, or
    `output` for a single one."""
    shape: Shape
    """Shape; the first dimension, null, is the batch dimension."""


class Suggestions(Resource):
    """Common choices for targets like these; the service applies none of them."""

    task: Literal["regression", "binary", "multiclass", "multilabel"]
    loss: LossName
    """Name of a `torch.nn` loss."""
    metrics: list[MetricName]
    outputs: int
    """Size of dimension 1 of the model's output."""


class CheckedData(DatasetReference):
    """The requested `data` with defaults filled in, without values that were sent with the request."""

    dataset_id: DatasetId | None = None  # type: ignore[assignment] # of a stored dataset only
    """Id of the dataset that the request names."""


class FittedTransform(Resource):
    """A transform of one column, with the constants fitted on the training rows as further fields."""

    model_config = ConfigDict(extra="allow")

    type: str
    """Type of the transform, e.g. `standardize`."""
    column: str


class Preflight(Resource):
    """Result of a check: the request as it would run, with defaults and inferred sizes filled in."""

    valid: bool
    """Always true; an invalid request is answered with 422."""
    name: str | None
    data: CheckedData
    """The requested `data` with defaults filled in."""
    architecture: ArchitectureSpec
    """The requested `architecture` with defaults and inferred sizes filled in."""
    training: TrainingSpec
    """The requested `training` with defaults filled in."""
    device: Device
    """The requested device."""
    engine: Engine
    """The requested engine."""
    precision: Precision
    """The requested precision."""
    parallel: Parallel | None = None
    """The requested processes; absent for one."""
    used: Used
    """Resources that the job would run with."""
    layers: list[Layer]
    module: str
    """PyTorch's `repr` of the module."""
    parameter_count: int
    """Total number of elements in all parameters."""
    target_shape: Shape
    """Shape of the targets; the first dimension, null, is the batch dimension."""
    outputs: list[ModelOutput]
    """Outputs of the model that have an entry for each sample, in order."""
    output_width: int
    """Size of dimension 1 of the output that the loss compares with the targets; 1 for an output [B]."""
    classes: Literal["indices"] | Labels | None = None
    """Classes in the order of the outputs, or `indices` where the targets are the indices of their outputs;
    null for targets without classes."""
    construction_seed: int | None = None
    """With `from_job`, the seed of the first of these jobs, which determines random values of a class that
    are not part of its state, such as plain tensors."""
    warnings: list[FieldProblem]
    """Valid but suspicious values."""
    suggestions: Suggestions | None
    """Choices that suit the targets; null when the targets suggest none."""
    memory_estimate_bytes: int
    """Estimated memory of the model, the optimizer state and one step."""
    rows: dict[Literal["train", "validation", "test", "dropped"], int]
    """Number of rows in each split, and of rows dropped because of missing values."""
    inputs: list[ModelInput]
    """Inputs of the model."""
    transforms: list[FittedTransform]
    """Transforms with the constants fitted on the training rows."""


Submission = TypeAliasType("Submission", Job | Preflight)
"""Answer to a submission that has ended, or was only checked."""
