"""What the API answers, as documented in the OpenAPI document; a test holds real answers to it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.problems import Problem
from service.specs.job import JobStatus, StopReason

Nested = list[Any]
"""A nested list of numbers; null where there is no finite one."""


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
    eta_seconds: float | None
    """Estimated seconds until the end, while the job runs."""


class EpochValues(Resource):
    """What one epoch gave."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    metrics: dict[str, dict[Literal["train", "validation"], float | None]]


class TestValues(Resource):
    """Loss and metrics on the test rows, computed once at the end."""

    loss: float | None
    metrics: dict[str, float | None]


class Used(Resource):
    """What a job runs on, decided once, at submission."""

    device: str
    engine: str
    threads: int


class Timings(Resource):
    """Where the time went, in seconds."""

    queue_seconds: float
    setup_seconds: float
    training_seconds: float
    saving_seconds: float


class Job(Resource):
    """A training job."""

    id: str
    name: str | None
    status: JobStatus
    stop_reason: StopReason | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    queue_position: int | None
    """1 is the next; null when the job isn't queued."""
    progress: Progress
    latest: EpochValues | None
    best: EpochValues | None
    test: TestValues | None
    dataset_id: str
    data: dict[str, Any]
    architecture: dict[str, Any]
    training: dict[str, Any]
    device: str
    engine: str
    precision: str
    used: Used
    timings: Timings | None
    parameter_count: int
    memory_estimate_bytes: int
    attempt: int
    error: Problem | None
    cancel_requested: bool
    pause_requested: bool
    links: dict[str, str]


class JobPage(Resource):
    """A page of a list, the newest first."""

    items: list[Job]
    next_page_token: str | None


class Layer(Resource):
    """One layer as the preflight met it."""

    path: str
    type: str
    input_shape: list[Any] | None
    output_shape: list[Any] | None
    parameters: int


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
    layers: list[Layer]
    module: str
    """PyTorch's print of the module."""
    parameter_count: int
    memory_estimate_bytes: int
    rows: dict[Literal["train", "validation", "test"], int]


class Column(Resource):
    """What a dataset's column holds."""

    model_config = ConfigDict(extra="allow")

    name: str
    type: Literal["numeric", "boolean", "categorical", "datetime", "tensor"]


class Dataset(Resource):
    """A dataset."""

    id: str
    name: str | None
    kind: Literal["tabular", "tensors"]
    rows: int
    bytes: int
    columns: list[Column]
    warnings: list[str]
    created_at: str
    links: dict[str, str]


class DatasetPage(Resource):
    """A page of a list, the newest first."""

    items: list[Dataset]
    next_page_token: str | None


class Rows(Resource):
    """Rows of a dataset, in order."""

    offset: int
    total: int
    rows: list[dict[str, Any]]


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
    metrics: dict[str, SideValues]
    next_epoch: int
    """Ask with `from_epoch` set to this for what comes after."""


class Parameter(Resource):
    """One parameter or buffer."""

    name: str
    shape: list[int]
    dtype: str
    size: int
    values: Nested | float | None = None
    gradient: Nested | float | None = None
    norm: float | None = None
    mean: float | None = None
    std: float | None = None
    gradient_norm: float | None = None


class NamedParameters(Resource):
    """The model's parameters, in the order of `named_parameters()`, and its buffers."""

    epoch: int
    module: str
    """PyTorch's print of the module."""
    total: int
    parameters: list[Parameter]
    buffers: list[Parameter]


class Predictions(Resource):
    """One output for each row, in the rows' order, in the targets' units."""

    epoch: int
    """The epoch whose parameters predicted."""
    outputs: Nested
    labels: list[Any] | None = Field(None, description="Classes, for a classification.")
    probabilities: Nested | None = None


class Worker(Resource):
    """A live worker process."""

    id: str
    device: str
    device_name: str | None
    threads: int
    hostname: str
    pid: int
    started_at: str
    heartbeat_at: str


class System(Resource):
    """The service as a whole."""

    version: str
    devices: list[str]
    workers: list[Worker]
    queue_length: int


class Health(Resource):
    """Whether the service can work, and what keeps it from working."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]


class Index(Resource):
    """Where to go from here."""

    name: str
    version: str
    links: dict[str, str]
