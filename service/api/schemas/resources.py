"""What the API answers, as documented in the OpenAPI document; a test holds real answers to it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from service.api.http.problems import FieldProblem, Problem
from service.specs.job import JobStatus, LogLevel, StopReason

Nested = list[Any]
"""A nested list of numbers; null where there is no finite one."""
Label = bool | int | float | str
"""A class as the data name it."""


class Resource(BaseModel):
    """An answer: closed, so that nothing undocumented is in it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Progress(Resource):
    """How far a job has come."""

    epoch: int
    """Epochs completed."""
    epochs: int
    """Epochs asked for."""
    fraction: float
    """`epoch / epochs`."""
    eta_seconds: float | None
    """Estimated seconds until the end, while the job runs."""


class EpochValues(Resource):
    """What one epoch gave."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    metrics: dict[str, dict[Literal["train", "validation"], float | None]]
    """By name; `train` and `validation` of each."""


class TestValues(Resource):
    """Loss and metrics on the test rows, computed once at the end."""

    loss: float | None
    metrics: dict[str, float | None]
    """By name."""


class Used(Resource):
    """What a job runs on, decided once, at submission."""

    device: str
    """`cpu` or `cuda:N`."""
    engine: str
    """What executes the steps: `eager` or `compiled`."""
    engine_reason: str | None
    """Why `auto` stayed with the eager engine."""
    threads: int
    """CPU threads; the bits of a result depend on it."""


class Timings(Resource):
    """Where the time went, in seconds."""

    queue_seconds: float
    """From submission to start."""
    setup_seconds: float
    """Reading the data, building the model."""
    compile_seconds: float
    """Tracing and compiling; next to nothing when a worker has had a job of the same shape before."""
    training_seconds: float
    """The epochs, of all attempts."""
    saving_seconds: float
    """Writing checkpoints."""


class Job(Resource):
    """A training job."""

    id: str
    name: str | None
    priority: int
    """Of two jobs in a queue, the higher one goes first."""
    status: JobStatus
    stop_reason: StopReason | None
    """Null until the job has ended."""
    created_at: str
    """When it was submitted."""
    started_at: str | None
    finished_at: str | None
    queue_position: int | None
    """1 is the next; null when the job isn't queued."""
    progress: Progress
    latest: EpochValues | None
    """The last epoch's values."""
    best: EpochValues | None
    """The best epoch's values: the lowest validation loss, or what early stopping monitors."""
    test: TestValues | None
    """Null without test rows, and until the end."""
    dataset_id: str
    """The dataset it trains on; inline data was stored as one."""
    data: dict[str, Any]
    """As requested, defaults filled in; the values themselves are in the dataset."""
    architecture: dict[str, Any]
    """As requested, defaults and inferred sizes filled in."""
    training: dict[str, Any]
    """As requested, defaults filled in; a seed that was left out is shown."""
    device: str
    """As requested."""
    engine: str
    """As requested."""
    precision: str
    """As requested."""
    used: Used
    timings: Timings | None
    """Null until the job has ended."""
    parameter_count: int
    """Numbers in all parameters together."""
    memory_estimate_bytes: int
    """Estimated memory of model, optimizer and one step."""
    attempt: int
    """How often a worker has taken it."""
    error: Problem | None
    """Why it failed."""
    cancel_requested: bool
    pause_requested: bool
    links: dict[str, str]
    """Paths of what belongs to it."""


class JobPage(Resource):
    """A page of a list, the newest first."""

    items: list[Job]
    next_page_token: str | None
    """Null on the last page."""


class Layer(Resource):
    """One layer as the preflight met it."""

    path: str
    """Its name in the model, e.g. `0` or `encoder.hidden`."""
    type: str
    input_shape: list[Any] | None
    """`B` is the batch."""
    output_shape: list[Any] | None
    parameters: int


class Input(Resource):
    """An input of the model."""

    name: str
    shape: list[int | None]
    """The first, null, is the number of samples."""
    dtype: Literal["float32", "int64"]
    columns: list[str] | None
    """What stands in each column of a table's input: `age`, `island=Biscoe`, `age_missing`."""


class Suggestions(Resource):
    """What usually is taken for targets like these; nothing is chosen for a client."""

    task: Literal["regression", "binary", "multiclass", "multilabel"]
    loss: str
    """A loss of torch.nn."""
    metrics: list[str]
    outputs: int
    """Size of the model's output in dimension 1."""


class Preflight(Resource):
    """What would be run: the request with defaults and inferred sizes filled in."""

    valid: Literal[True]
    name: str | None
    data: dict[str, Any]
    architecture: dict[str, Any]
    training: dict[str, Any]
    device: str
    engine: str
    precision: str
    used: Used
    """What it would run on."""
    layers: list[Layer]
    module: str
    """PyTorch's print of the module."""
    parameter_count: int
    """Numbers in all parameters together."""
    output_width: int
    """Size of the output's dimension 1."""
    warnings: list[FieldProblem]
    """What is allowed, and likely not meant."""
    suggestions: Suggestions | None
    """What would suit the targets; null where nothing can be told from them."""
    memory_estimate_bytes: int
    """Estimated memory of model, optimizer and one step."""
    rows: dict[Literal["train", "validation", "test", "dropped"], int]
    """How many rows train, validate and test, and how many are left out for missing values."""
    inputs: list[Input]
    """What the model is given."""
    transforms: list[dict[str, Any]]
    """The transforms, with the constants that were fitted on the training rows."""


class Histogram(Resource):
    """How many values lie in each of about 20 bins of equal width."""

    edges: list[float]
    """Ascending; one more than there are bins. The last bin has both its edges."""
    counts: list[int]


class Column(Resource):
    """What a dataset's column holds; the statistics are those that its type has.

    All is exact but the `histogram`, and `distinct` and `categories` where more than 10,000 values are
    different: these are of `sampled_rows` from all over the data.
    """

    name: str
    type: Literal["numeric", "boolean", "categorical", "datetime", "tensor"]
    count: int
    """How many values there are."""
    missing: int
    """In how many rows there is none."""
    min: float | str | None = None
    """Of times, in RFC 3339."""
    max: float | str | None = None
    mean: float | None = None
    """Of booleans, the share that is true."""
    std: float | None = None
    """With ddof = 0."""
    distinct: int | None = None
    """How many different values."""
    histogram: Histogram | None = None
    """Null where all values are equal."""
    categories: list[str] | None = None
    """The 100 most frequent, the most frequent first, then ascending."""
    category_counts: list[int] | None = None
    """How often each of `categories` is there."""
    shape: list[int] | None = None
    """Of a tensor [B, …]."""
    dtype: str | None = None


class Dataset(Resource):
    """A dataset."""

    id: str
    name: str | None
    kind: Literal["tabular", "tensors"]
    """Named columns, or tensors."""
    rows: int
    bytes: int
    """Size as stored."""
    sampled_rows: int
    """How many rows from all over the data were asked for what is too expensive to ask of all."""
    columns: list[Column]
    warnings: list[str]
    """What is odd about the data."""
    created_at: str
    inline: bool
    """It came with a job, and goes when no job has it any more; an upload of the same keeps it."""
    links: dict[str, str]


class DatasetPage(Resource):
    """A page of a list, the newest first."""

    items: list[Dataset]
    next_page_token: str | None
    """Null on the last page."""


class Rows(Resource):
    """Rows of a dataset, in order."""

    offset: int
    """Number of the first of these rows."""
    total: int
    """Rows of the dataset."""
    rows: list[dict[str, Any]]
    """Column name → value."""


class SideValues(Resource):
    """A metric's values on both sides."""

    train: list[float | None]
    validation: list[float | None]


class History(Resource):
    """Aligned columns: one entry for each epoch."""

    epochs: list[int]
    train_loss: list[float | None]
    validation_loss: list[float | None]
    learning_rate: list[float | None]
    """The one the epoch used."""
    metrics: dict[str, SideValues]
    """By name."""
    next_epoch: int
    """Ask with `from_epoch` set to this for what comes after."""


class LogLine(Resource):
    """Something that the service noted about a job."""

    at: str
    level: LogLevel
    attempt: int
    """The job's, which it is about; 0: before the first."""
    message: str


class LogPage(Resource):
    """A page of a job's log, the oldest line first."""

    items: list[LogLine]
    next_page_token: str | None
    """Null on the last page."""


class Checkpoint(Resource):
    """A saved state of a job's training."""

    epoch: int
    """Epochs completed: `?checkpoint=<epoch>` reads it, where `step` is 0."""
    step: int
    """Steps taken of the epoch that follows; 0 between two epochs."""
    bytes: int
    """Its size: parameters, gradients, the best epoch's, the optimizer's state."""
    created_at: str


class CheckpointPage(Resource):
    """A job's checkpoints, the newest first; they are so few that there is one page."""

    items: list[Checkpoint]
    next_page_token: None


class Parameter(Resource):
    """One parameter or buffer."""

    name: str
    shape: list[int]
    dtype: str
    size: int
    """How many numbers it holds."""
    values: Nested | float | None = None
    """With `include=values`, nested as the shape."""
    gradient: Nested | float | None = None
    """With `include=gradients`: the gradient of the last step, nested as the shape."""
    norm: float | None = None
    """With `include=statistics`: the 2-norm of the values."""
    mean: float | None = None
    """With `include=statistics`."""
    std: float | None = None
    """With `include=statistics`, ddof = 0."""
    gradient_norm: float | None = None
    """With `include=statistics`: the 2-norm of the gradient."""


class NamedParameters(Resource):
    """The model's parameters, in the order of `named_parameters()`, and its buffers."""

    epoch: int
    """The epoch after which they had these values."""
    module: str
    """PyTorch's print of the module."""
    total: int
    """Numbers in all parameters together."""
    parameters: list[Parameter]
    buffers: list[Parameter]
    """What the model holds but doesn't train, e.g. running means."""


class Predictions(Resource):
    """One output for each row, in the rows' order, in the targets' units."""

    epoch: int
    """The epoch whose parameters predicted."""
    outputs: Nested
    """Nested list [B, …]."""
    classes: list[Label] | None = None
    """What the columns of `probabilities` are of, in order: the labels of the classes; of targets of 0 and 1,
    one or several, their names."""
    labels: list[Any] | None = None
    """The class of each row, for a classification; for targets of 0 and 1 a list with one of each."""
    probabilities: Nested | None = None
    """Of each class, in the order of `classes`; for targets of 0 and 1 that of being 1."""


class ConfusionMatrix(Resource):
    """Rows counted by their actual class and by the predicted one."""

    classes: list[Label]
    """The labels of the classes; 0 and 1 of a target of 0 and 1; of several such targets their names."""
    matrix: list[Any]
    """`matrix[actual][predicted]`: its rows are actual classes, its columns predicted ones, as in `classes`.
    Several targets of 0 and 1 have a matrix each: `matrix[target][actual][predicted]`."""


class WorstRow(Resource):
    """A row of high loss, and what was predicted for it."""

    row: int
    """Its number among the rows sent, from 0."""
    loss: float | None
    """Of this row alone; with class weights, times its weight."""
    target: Any
    """What it should have been: a label, or values in the targets' units."""
    output: Any
    """The model's, in the targets' units."""
    label: Any = None
    """The predicted class, for a classification."""
    probabilities: Any = None
    """Of each class, as in predictions."""


class Evaluation(Resource):
    """How well the model does on labelled rows. What has no finite value is null."""

    epoch: int
    """The epoch whose parameters were evaluated."""
    rows: int
    loss: float | None
    """The training's loss, with its class weights, as the job computes it on its validation rows: of targets
    after their transforms."""
    metrics: dict[str, float | None]
    """The job's; where it has none, those that are usual for the kind of its targets. As in the history,
    they are of targets after their transforms: of a standardized one in standard deviations."""
    confusion_matrix: ConfusionMatrix | None
    """Of up to 1000 classes, or of targets of 0 and 1; null for a regression."""
    worst: list[WorstRow]
    """The rows of the highest loss, the highest first."""


class Targets(Resource):
    """What a model is trained to give."""

    columns: list[str]
    """The target columns; empty for tensors."""
    shape: list[int | None]
    """The first, null, is the number of samples."""
    classes: list[Any] | None
    """The labels by class index."""


class Encoding(Resource):
    """From raw data to the model's inputs, from its outputs to the targets' units."""

    epoch: int
    inputs: list[Input]
    targets: Targets
    types: dict[str, Literal["numeric", "boolean", "categorical", "datetime"]]
    """Of each column, as which its cells are read."""
    transforms: list[dict[str, Any]]
    """Fitted on the training rows; those of a column are applied in this order, and undone in reverse."""


class SideRows(Resource):
    """The rows of one side of a split."""

    dataset_id: str
    total: int
    """How many there are."""
    rows: list[int]
    """Their numbers in the dataset, from 0, in the order of training."""


class SplitRows(Resource):
    """Which rows train, validate and test."""

    train: SideRows
    validation: SideRows
    test: SideRows


class Worker(Resource):
    """A live worker process."""

    id: str
    device: str
    """`cpu` or `cuda:N`."""
    device_name: str | None
    """The GPU's name."""
    threads: int
    hostname: str
    pid: int
    started_at: str
    heartbeat_at: str


class System(Resource):
    """The service as a whole."""

    version: str
    devices: list[str]
    """Where jobs can run."""
    workers: list[Worker]
    queue_length: int
    """Jobs waiting."""
    queue_lengths: dict[str, int]
    """Jobs waiting for each device."""
    max_queue_length: int
    """Beyond it, a submit gets 503."""


class Health(Resource):
    """Whether the service can work, and what keeps it from working."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
    """Each `ok`, or what is wrong."""


class Index(Resource):
    """Where to go from here."""

    name: str
    version: str
    links: dict[str, str]
