"""The training section: loss, optimizer, scheduler, metrics, epochs, batches and stopping rules."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypeAliasType

from service.specs.base import (
    Integer,
    JobId,
    ParameterSetId,
    Spec,
    at_most_one,
    given,
    implies,
    one_error,
    rules,
)
from service.specs.component import Loss, Metric, Optimizer, Scheduler

MAX_EPOCHS = 10_000_000
MAX_METRICS = 100

Weight = Annotated[float, Field(gt=0)]


def _is_weight(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value > 0


Weights = Annotated[dict[str, Weight], one_error(_is_weight, "numbers above 0")]


def _weights_tag(value: Any) -> str:
    return "auto" if isinstance(value, str) else "weights"


def _loss_weights_tag(value: Any) -> str:
    return "list" if isinstance(value, list) else "weights"


# The JSON type selects the alternative, so that an invalid weight is reported once, not for both.
ClassWeights = TypeAliasType(
    "ClassWeights",
    Annotated[
        Annotated[Literal["auto"], Tag("auto")] | Annotated[Weights, Tag("weights")],
        Discriminator(_weights_tag),
        Field(description="`auto`, or weights by label."),
    ],
)
LossWeights = Annotated[
    Annotated[list[Weight], one_error(_is_weight, "numbers above 0"), Tag("list")]
    | Annotated[Weights, Tag("weights")],
    Discriminator(_loss_weights_tag),
]
"""Weights in the order of the classes, or by label: the argument `weight` or `pos_weight` of a loss."""


class EarlyStopping(Spec):
    """Stop the training when a monitored value no longer improves."""

    monitor: str = "validation_loss"
    """The monitored value: `validation_loss`, `train_loss`, or a metric of `metrics` with the prefix
    `validation_` or `train_`, e.g. `validation_accuracy`."""
    patience: Annotated[Integer, Field(ge=1)] = 10
    """Number of consecutive epochs without improvement after which the training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Minimum change that counts as an improvement: the value must be less than best − `min_delta`, or, for
    metrics of which higher values are better, greater than best + `min_delta`."""
    restore_best: bool = True
    """If true, predictions and downloads use the parameters of the best epoch by default, otherwise those of
    the last epoch."""


class TrainingSpec(Spec):
    """Loss, optimizer, scheduler, metrics, epochs, batches and stopping rules of a training."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            implies({"required": ["resume"], "properties": {"resume": {"const": True}}}, given("from_job")),
            at_most_one("from_job", "initial_parameters"),
        )
    )

    loss: Loss
    """Loss of `torch.nn`, e.g. `MSELoss`. `reduction` is always `mean`. `ignore_index` is a label of the
    target that is no class; rows with it are left out of loss and metrics. `weight` and `pos_weight` are
    lists in the order of the classes (or of the targets), or objects by label; the job shows them as
    `class_weights`."""
    optimizer: Optimizer
    """Optimizer of `torch.optim`, e.g. `{"type": "SGD", "lr": 0.01}`."""
    class_weights: ClassWeights | None = None
    """Weights of the classes in the loss: an object of positive numbers by label, or `auto`. `auto` is
    n / (classes · n_class), counted over the training rows, as scikit-learn's `balanced`. For
    `BCEWithLogitsLoss` with numeric targets the object has a `pos_weight` for each target column, and `auto`
    is negatives / positives; for a target with two labels, `pos_weight` is the second label's weight divided
    by the first's. Only for losses with `weight` or `pos_weight`. Null: all classes have the weight 1."""
    scheduler: Scheduler | None = None
    """Learning rate scheduler of `torch.optim.lr_scheduler`, stepped after each epoch (`OneCycleLR` and
    `CyclicLR`: after each batch). `ReduceLROnPlateau` watches the validation loss, or without validation
    rows the training loss. Null: the learning rate is constant."""
    metrics: Annotated[
        list[Metric], Field(max_length=MAX_METRICS, json_schema_extra={"uniqueItems": True})
    ] = []
    """Metrics of torchmetrics by short name, e.g. `accuracy` or `r2_score`, computed on the training and
    validation rows in each epoch. Like the loss, they compare outputs with transformed targets; the history
    has `in_target_units` with those in the units of the targets."""
    epochs: Annotated[int, Field(ge=0, le=MAX_EPOCHS)]
    """Number of epochs. With 0, the job succeeds with the initial parameters, which can be read, predict, and
    be trained by a continuation."""
    batch_size: Annotated[Integer, Field(ge=1)] | None = None
    """Samples per optimizer step. Null: all training rows in one step (full batch)."""
    drop_last: bool = False
    """If true, an epoch leaves out its last batch where that has fewer than `batch_size` samples, as
    `DataLoader(drop_last=True)`; with `shuffle`, other samples are left out in each epoch. Without effect if
    `batch_size` is null."""
    shuffle: bool = True
    """If true, each epoch takes the samples in a new order, one `torch.randperm(n_train)`, otherwise in the
    order of the training rows. Without effect if `batch_size` is null."""
    seed: Annotated[Integer, Field(ge=0)] | None = None
    """Seed passed to `torch.manual_seed` before the model is built; it determines initial parameters and the
    order of samples. Null: a random seed, which the job shows."""
    early_stopping: EarlyStopping | None = None
    """Rule that stops the training early. Null: all epochs are trained."""
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Maximum 2-norm of the gradients of all parameters together (`torch.nn.utils.clip_grad_norm_`). Null: no
    clipping."""
    max_runtime_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time limit of the training, in seconds. A job that reaches it succeeds with the epochs trained so far.
    Null: no limit."""
    checkpoint_every: Annotated[Integer, Field(ge=1)] | None = None
    """Number of epochs between checkpoints that are kept, the newest `FITSERVE_CHECKPOINTS_KEPT` of them;
    `?checkpoint=<epoch>` reads one. Null: only the newest checkpoint is kept."""
    initial_parameters: ParameterSetId | None = None
    """Id of a parameter set of `POST /v1/parameters` that this job starts with. Names, shapes and dtypes must
    be those of the model's `state_dict()`, which includes buffers. It is loaded after the model was built, so
    that the order of samples is that of the same seed without it. Null: the parameters are initialized
    randomly."""
    from_job: JobId | None = None
    """Id of a job whose parameters this one starts from: those that its predictions use. Null: the parameters
    are initialized randomly."""
    resume: bool = False
    """If true, continue the job of `from_job` exactly, up to a higher number of `epochs`; the result equals
    that of one job with all epochs. Requires `from_job`."""

    @property
    def predicts_best(self) -> bool:
        """True if predictions use the best epoch's parameters by default, instead of the last epoch's."""
        return self.early_stopping is not None and self.early_stopping.restore_best
