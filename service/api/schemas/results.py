"""Results of a job: history, checkpoints, parameters, predictions, evaluations, encoding and split."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from service.api.schemas.base import Cells, Labels, Nested, Resource, Shape, Timestamp
from service.api.schemas.datasets import Histogram
from service.api.schemas.jobs import FittedTransform, InTargetUnits, ModelInput
from service.api.schemas.problems import FieldProblem
from service.specs.base import DatasetId
from service.specs.transforms import Label
from service.specs.upload import ReadOptions

NestedOrNumber = Annotated[Any, WithJsonSchema({"not": {"type": ["boolean", "object", "string"]}})]
"""Nested list of numbers; of a tensor without dimensions, a number."""
_COUNTS = {
    "type": "array",
    "items": {"type": "array", "items": {"not": {"type": ["null", "object", "string"]}}},
}


class SideValues(Resource):
    """Values of a metric or a loss on the train and validation split, one for each epoch."""

    train: list[float | None]
    validation: list[float | None]


class HistoryInTargetUnits(Resource):
    """Loss and metrics in the units of the targets, one value for each epoch."""

    loss: SideValues | None = None
    """For `MSELoss`, `L1Loss`, `HuberLoss` and `SmoothL1Loss`: the loss of the values in these units. `delta`
    and `beta` are then in these units, too. Absent for other losses."""
    metrics: dict[str, SideValues]
    """Metrics by name."""


class History(Resource):
    """History as columns of equal length, one entry for each epoch."""

    epochs: list[int]
    train_loss: list[float | None]
    validation_loss: list[float | None]
    learning_rate: list[float | None]
    """Learning rate during the epoch."""
    metrics: dict[str, SideValues]
    """Metrics by name."""
    in_target_units: HistoryInTargetUnits | None = None
    """For a regression of transformed targets: loss and metrics in the units of the targets. In CSV, the
    columns end with `_in_target_units`."""
    next_epoch: int
    """Value of `from_epoch` that returns only later epochs."""


class Checkpoint(Resource):
    """A saved state of a job's training."""

    epoch: int
    """Completed epochs. `?checkpoint=<epoch>` selects the checkpoint whose `step` is 0."""
    step: int
    """Completed steps of the following epoch; 0 between epochs."""
    bytes: int
    """Size of parameters, gradients, the best epoch's parameters, and optimizer state."""
    created_at: Timestamp


class CheckpointPage(Resource):
    """Checkpoints of a job, newest first, on a single page."""

    items: list[Checkpoint]
    next_page_token: str | None
    """Always null."""


class Parameter(Resource):
    """A parameter or buffer."""

    name: str
    shape: list[int]
    dtype: str
    size: int
    """Number of elements."""
    values: NestedOrNumber = None
    """With `include=values`: the values, nested by shape."""
    gradient: NestedOrNumber = None
    """With `include=gradients`: the gradient of the last step, nested by shape."""
    norm: float | None = None
    """With `include=statistics`: the 2-norm of the values."""
    mean: float | None = None
    """With `include=statistics`: the mean of the values."""
    std: float | None = None
    """With `include=statistics`: the standard deviation of the values, with ddof = 0."""
    gradient_norm: float | None = None
    """With `include=statistics`: the 2-norm of the gradient."""


class NamedParameters(Resource):
    """Parameters of the model, in the order of `named_parameters()`, and its buffers."""

    epoch: int
    """Epoch after which the values were saved."""
    module: str
    """PyTorch's `repr` of the module."""
    total: int
    """Total number of elements in all parameters."""
    parameters: list[Parameter]
    buffers: list[Parameter]
    """Tensors that are part of the model but not trained, e.g. running means."""


class Predictions(Resource):
    """One output for each row, in the order of the rows and the units of the targets."""

    epoch: int
    """Epoch of the parameters used."""
    ids: dict[str, Cells] | None = None
    """The columns of `data.id` that were sent, as they were sent."""
    # Without a schema of its own: generators of clients lose the values of a union of a list and an object.
    outputs: Annotated[Nested | dict[str, Nested], WithJsonSchema({})]
    """Output of the model as a nested list [B, …]; of several outputs, such lists by name."""
    quantiles: list[float] | None = None
    """For `PinballLoss`: the quantiles of the last dimension of `outputs`."""
    windows: dict[str, Cells] | None = None
    """For a model of windows, the values of `order` and `by` in the last row of each: one output for each
    complete window of the rows sent, in the order of the series."""
    classes: Labels | None = None
    """Meaning of the columns of `probabilities`, in order: the class labels, or, for targets of 0 and 1, the
    names of the targets."""
    labels: list[Any] | None = None
    """For a classification, the predicted class of each row; for targets of 0 and 1, a list with one value
    for each target."""
    probabilities: Nested | None = None
    """Probability of each class, in the order of `classes`; for targets of 0 and 1, the probability of 1.
    Null for a row whose outputs are not what the loss needs, see `warnings`."""
    warnings: list[FieldProblem] | None = None
    """Doubtful results; absent if there are none."""


class ClassFigures(Resource):
    """Figures of one class against all others. A ratio of 0 / 0 is 0, as in scikit-learn."""

    class_: Label = Field(alias="class")
    """The class label; 0 or 1 for one target of 0 and 1; the name of the target for several."""
    precision: float
    """Share of the rows that are predicted as the class and belong to it."""
    recall: float
    """Share of the rows of the class that are predicted as it."""
    f1_score: float
    """Harmonic mean of precision and recall."""
    support: int
    """Number of rows of the class; for several targets of 0 and 1, of rows with the target 1."""


class RocCurve(Resource):
    """Points of `sklearn.metrics.roc_curve`; at most 1000, evenly chosen."""

    fpr: list[float | None]
    """False positive rate; null without negative rows."""
    tpr: list[float | None]
    """True positive rate; null without positive rows."""
    thresholds: list[float | None]
    """Scores from which on a row is predicted as positive, descending. The first one, null, is infinite."""


class PrecisionRecallCurve(Resource):
    """Points of `sklearn.metrics.precision_recall_curve`; at most 1000, evenly chosen."""

    precision: list[float]
    recall: list[float]
    thresholds: list[float | None]
    """Scores from which on a row is predicted as positive, ascending. The last point has none."""


class BestF1(Resource):
    """The threshold with the highest F1 score."""

    threshold: float | None
    f1_score: float


class ClassCurves(Resource):
    """Curves of one class against all others over all thresholds.

    Scores are probabilities, or the outputs where the loss implies none.
    """

    class_: Label = Field(alias="class")
    """The class label; the second class for two; the name of the target for several targets of 0 and 1."""
    roc: RocCurve
    precision_recall: PrecisionRecallCurve
    best_f1: BestF1 | None
    """Value for `threshold`; null for more than two classes, where labels follow from the highest score."""


class ResidualSummary(Resource):
    """Residuals (target − output) of one target, in its units. Those that are not finite are left out."""

    target: str
    mean: float | None
    std: float | None
    """Standard deviation, with ddof = 0."""
    min: float | None
    q25: float | None
    """The first quartile, interpolated linearly."""
    median: float | None
    q75: float | None
    """The third quartile."""
    max: float | None
    histogram: Histogram | None
    """Histogram of 20 bins from `min` to `max`; null if no residual is finite."""


class ConfusionMatrix(Resource):
    """Number of rows by actual and predicted class; of positions for targets [B, d1, …]."""

    classes: Labels
    """The class labels; 0 and 1 for one target of 0 and 1; the names of the targets for several."""
    matrix: Annotated[list[list[Any]], WithJsonSchema(_COUNTS)]
    """`matrix[actual][predicted]`, in the order of `classes`. For several targets of 0 and 1, one matrix for
    each: `matrix[target][actual][predicted]`."""


class WorstRow(Resource):
    """A row with a high loss, and its prediction."""

    row: int
    """Index among the rows sent, from 0; with `split`, in the dataset of the split; of a window, that of the
    last row of its inputs."""
    ids: dict[str, Any] | None = None
    """The values of the columns of `data.id` that were sent, or that the dataset has."""
    loss: float | None
    """Loss of this row; with class weights, multiplied by its weight."""
    target: Any
    """Actual value: a label, or values in the units of the targets."""
    output: Any
    """Model output, in the units of the targets."""
    label: Any = None
    """Predicted class, for a classification."""
    probabilities: Any = None
    """Probability of each class, as in predictions."""


class Evaluation(Resource):
    """Loss and metrics of the model on labelled rows. Values that are not finite are null."""

    epoch: int
    """Epoch of the parameters used."""
    rows: int
    """Number of rows, or of windows, that loss and metrics are computed on."""
    dropped: int
    """Number of rows that were left out because they have no value in a column of the job's `drop_rows`."""
    loss: float | None
    """The training loss, with its class weights, computed as on the job's validation rows: on transformed
    targets, by the weights of the rows if the column of `data.weights` was sent, and without missing targets
    if `data.missing_targets` is `mask`."""
    metrics: dict[str, float | None]
    """The job's metrics, or, if it has none, the usual ones for its type of targets. Like the history, they
    are computed on transformed targets: for a standardized target, in standard deviations."""
    in_target_units: InTargetUnits | None = None
    """For a regression of transformed targets: loss and metrics in the units of the targets."""
    threshold: float | None
    """The threshold of probabilities that the labels follow from; null if they do not follow from one."""
    per_class: list[ClassFigures] | None
    """Figures of each class, for up to 1000 classes; of each target for several targets of 0 and 1; null for
    a regression."""
    confusion_matrix: ConfusionMatrix | None
    """Confusion matrix for up to 1000 classes or for targets of 0 and 1; null for a regression."""
    curves: list[ClassCurves] | None
    """With `curves=true`: the curves of each class, for up to 100 classes; null for a regression."""
    residuals: list[ResidualSummary] | None
    """Residuals of each of up to 100 targets, for `MSELoss`, `L1Loss`, `HuberLoss` and `SmoothL1Loss`; null
    for other losses."""
    worst: list[WorstRow]
    """Rows with the highest loss, highest first."""
    warnings: list[FieldProblem] | None = None
    """Doubtful results; absent if there are none."""


class Targets(Resource):
    """Targets of the model."""

    columns: list[str]
    """Target columns; empty for tensors."""
    shape: Shape
    """Shape; the first dimension, null, is the batch dimension."""
    classes: Labels | None
    """Labels of the classes, in the order of their outputs; the labels that stand for 0 and 1 of one binary
    target."""
    values: Labels | None
    """Values of the target by class, where `classes` are names for them; null where they are the labels."""
    outputs: list[int] | None
    """Index of the output of each class; null for targets without one output per class."""
    ignored: int | None
    """Label that is no class, the `ignore_index` of the loss."""
    column_classes: dict[str, Labels]
    """Labels that stand for 0 and 1, by column, of several targets of text or booleans."""


class WindowEncoding(Resource):
    """How rows are joined to windows of a time series."""

    order: str
    """Column that orders the rows."""
    by: list[str]
    """Columns whose values identify a series."""
    lags: int
    """Number of rows of the inputs."""
    horizon: int
    """Number of rows of the targets."""


class Encoding(Resource):
    """Encoding of raw data as model inputs, and of model outputs in the units of the targets."""

    epoch: int
    inputs: list[ModelInput]
    targets: Targets
    types: dict[str, Literal["numeric", "boolean", "categorical", "datetime"]]
    """Column type that the cells of each column are read as."""
    reading: ReadOptions
    """Formats of cells and options of CSV files, as far as they were set: every table is read by them."""
    window: WindowEncoding | None
    """How rows are joined to windows of a time series; null without windows."""
    transforms: list[FittedTransform]
    """Transforms, fitted on the training rows. Those of a column are applied in this order and inverted in
    reverse order."""


class SideRows(Resource):
    """Rows of one split."""

    dataset_id: DatasetId
    total: int
    """Number of rows in the split."""
    rows: list[int]
    """Row indices in the dataset, from 0, in training order. The index of a window is that of the last row of
    its inputs."""


class SplitRows(Resource):
    """Rows of the train, validation and test split."""

    train: SideRows
    validation: SideRows
    test: SideRows
