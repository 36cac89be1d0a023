"""The service: index, health, devices, workers and queue."""

from typing import Any, Literal

from service.api.schemas.base import DeviceName, Resource, Timestamp


class Worker(Resource):
    """A live worker process."""

    id: str
    device: DeviceName
    """`cpu` or `cuda:N`."""
    device_name: str | None
    """Name of the GPU; null for `cpu`."""
    threads: int
    started_at: Timestamp
    heartbeat_at: Timestamp


class System(Resource):
    """State of the service."""

    version: str
    devices: list[DeviceName]
    """Devices of the live workers."""
    workers: list[Worker]
    queue_length: int
    """Number of queued jobs."""
    queue_lengths: dict[str, int]
    """Number of queued jobs by device."""
    max_queue_length: int
    """Number of queued jobs from which on a submission gets 503."""


class Health(Resource):
    """Health of the service and of each dependency."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
    """Result of each check: `ok`, or what is wrong."""


class Described(Resource):
    """A name of the catalog."""

    help: str
    """One sentence about it."""
    arguments: dict[str, Any]
    """JSON Schema of its arguments."""


class DescribedLayer(Described):
    """A layer."""

    family: str
    """Group of layers, e.g. `activation`."""
    inferred: list[str]
    """Arguments that are inferred from the data when they are omitted."""
    takes: list[list[str]]
    """Shapes of each input, as alternatives; `*` stands for any dimensions."""


class DescribedLoss(Described):
    """A loss."""

    class_weights: Literal["weight", "pos_weight"] | None
    """Argument for weights of classes; null if the loss has none."""


class DescribedMetric(Resource):
    """A metric."""

    help: str
    """One sentence about it."""
    tasks: dict[str, Described]
    """Arguments for each task that the metric is defined for."""


class Catalog(Resource):
    """Every name that a request may use, by kind; with `kind` or `name`, the selected part."""

    layers: dict[str, DescribedLayer] = {}
    """Layers of `torch.nn`."""
    functions: dict[str, str] = {}
    """Functions and methods of `forward`, with their parameters."""
    inits: dict[str, Described] = {}
    """Functions of `torch.nn.init` that initialize parameters."""
    losses: dict[str, DescribedLoss] = {}
    """Losses of `torch.nn`."""
    optimizers: dict[str, Described] = {}
    """Optimizers of `torch.optim`."""
    schedulers: dict[str, Described] = {}
    """Learning rate schedulers of `torch.optim.lr_scheduler`."""
    metrics: dict[str, DescribedMetric] = {}
    """Metrics of torchmetrics, by short name."""
    transforms: dict[str, dict[str, Any]] = {}
    """JSON Schemas of the transforms of columns."""
    not_offered: dict[str, dict[str, str]] = {}
    """Names of PyTorch that a request may not use, with the reason, by kind."""


class CatalogNames(Resource):
    """Names of a kind."""

    kind: str
    names: dict[str, str]
    """One sentence about each name; of a function, its parameters."""


class CatalogEntry(Resource):
    """A name of the catalog, with the fields that its kind has."""

    kind: str
    name: str
    help: str
    """One sentence about it; of a function, its parameters."""
    arguments: dict[str, Any] | None = None
    """JSON Schema of its arguments; of a transform, of the whole object."""
    family: str | None = None
    """Of a layer: the group of layers, e.g. `activation`."""
    inferred: list[str] | None = None
    """Of a layer: arguments that are inferred from the data when they are omitted."""
    takes: list[list[str]] | None = None
    """Of a layer: shapes of each input, as alternatives; `*` stands for any dimensions."""
    class_weights: Literal["weight", "pos_weight"] | None = None
    """Of a loss: the argument for weights of classes, if it has one."""
    tasks: dict[str, Described] | None = None
    """Of a metric: arguments for each task that it is defined for."""


class Index(Resource):
    """Entry points of the API."""

    name: str
    version: str
    links: dict[str, str]
