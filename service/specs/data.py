"""The data section: the data or a dataset's id, features and targets, transforms, split."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from typing_extensions import TypeAliasType

from service.specs.base import (
    DatasetId,
    Name,
    Spec,
    at_most_one,
    exactly_one,
    one_error,
    published,
    rules,
)
from service.specs.content import Columns, DataframeSplit, OneForm, Rows, Targets, TensorInputs, Weights
from service.specs.reading import CellOptions, ColumnTypes
from service.specs.split import Split
from service.specs.transforms import LABEL, MAX_COLUMNS, ColumnName, Label, Transform, Window, is_label
from service.specs.upload import ReadOptions

ColumnNames = Annotated[
    list[ColumnName], Field(min_length=1, max_length=MAX_COLUMNS), published(uniqueItems=True)
]
IdColumns = TypeAliasType(
    "IdColumns",
    Annotated[
        Annotated[list[ColumnName], Field(max_length=MAX_COLUMNS)],
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=ColumnName | list[ColumnName],
        ),
        Field(description="A column name, or a list of them."),
    ],
)
FeatureGroups = Annotated[
    dict[ColumnName, ColumnNames],
    one_error(lambda value: isinstance(value, list), "lists of column names"),
    Field(min_length=1),
]
MAX_TRANSFORMS = 10_000
InputType = Literal["float32", "int64"]
CONTENT = ("columns", "rows", "dataframe_split", "inputs")
"""Names of the fields that contain inline data; the first one present determines the form."""


def _json_label(label: Any) -> Any:
    # One error instead of one for each type of a label.
    if not is_label(label):
        raise ValueError("Should be text, a number or a boolean.")
    return label


def _distinct(labels: list[Label]) -> list[Label]:
    # `true` and 1 are equal in Python, not in JSON.
    if len({(isinstance(label, bool), label) for label in labels}) < len(labels):
        raise ValueError("A label appears twice; list each class once.")
    return labels


Classes = Annotated[
    list[Annotated[Label, BeforeValidator(_json_label)]],
    one_error(is_label, "text, numbers or booleans"),
    Field(min_length=2),
    AfterValidator(_distinct),
    published(uniqueItems=True, items=LABEL),
]


class DataDeclaration(Spec):
    """Base class of the forms of the data section."""

    transforms: Annotated[list[Transform], Field(max_length=MAX_TRANSFORMS)] = []
    """Transforms of columns, applied in order. Constants are fitted on the training rows only. Transforms of
    targets are inverted in the model's outputs."""
    split: Split = Split()
    """Division of the rows into train, validation and test; all rows are training rows by default."""
    dtypes: Annotated[
        dict[str, InputType], one_error(lambda value: value in get_args(InputType), "types")
    ] = {}
    """Data types of the model's inputs by input name; `float32` by default, `int64` for an `Embedding`. A
    single input without a name of its own is called `input`."""
    types: ColumnTypes = {}
    """Types of columns by column name, overriding the inferred or stored types."""
    classes: Classes | None = None
    """Classes of the target in the order of the model's outputs: its values, of which some may be absent and
    others are an error; or, where the targets are integers, text that names the outputs 0, 1, …. A loss for
    two classes (`BCEWithLogitsLoss`) takes two. Null: for C outputs, integers from 0 to C − 1 are the indices
    of their outputs; other labels are numbered in sorted order."""
    missing_targets: Literal["error", "mask"] = "error"
    """Missing values in targets: `error` refuses them, `mask` leaves them out of loss and metrics. With
    `mask` the loss of a batch is the mean over its present targets. Only for losses that have a value for
    each target, such as `MSELoss` or `BCEWithLogitsLoss`. In tensors, null is a missing target."""
    reading: ReadOptions = ReadOptions()
    """Formats of numbers, dates and missing values in the table, stored with the model: every table that is
    sent to it is read in the same way. Of a dataset, only columns that are still text are read again; its
    other options are those of its upload. The options of CSV files apply to those that are sent to the
    model."""

    @model_validator(mode="after")
    def _types_once(self) -> "DataDeclaration":
        for name, column_type in self.reading.types.items():
            if self.types.get(name, column_type) != column_type:
                raise ValueError(f"`types` and `reading.types` disagree on `{name}`; give its type once.")
        return self

    def column_types(self) -> ColumnTypes:
        """Return the declared types of columns."""
        return {**self.reading.types, **self.types}

    def read_options(self) -> ReadOptions:
        """Return the options for reading the table, with the declared types of columns."""
        return self.reading.model_copy(update={"types": self.column_types()})

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        """Check that there is one window at most, and split its rows by time unless `split` says how."""
        windows = [transform for transform in self.transforms if isinstance(transform, Window)]
        if len(windows) > 1:
            raise ValueError("`transforms` contains `window` twice; give it once.")
        if windows and self.split.is_undecided():
            # As a rule, so that the job shows it. The model is frozen once it is valid.
            object.__setattr__(self, "split", self.split.model_copy(update={"time": windows[0].order}))
        return self

    def window(self) -> tuple[Window, int] | None:
        """Return the window and its position in `transforms`; None without one."""
        found = ((each, number) for number, each in enumerate(self.transforms) if isinstance(each, Window))
        return next(found, None)


class TabularDeclaration(DataDeclaration):
    """Base class of the forms in which a table is sent with the request."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("features", "feature_groups")))

    features: ColumnNames | None = None
    """Names of the columns that form the model's input, a tensor [B, k] with the columns in this order."""
    feature_groups: FeatureGroups | None = None
    """Names of the columns of each input, by input name, instead of `features`, for a model with several
    inputs."""
    targets: ColumnNames
    """Names of the columns that the model learns to predict, in order."""
    weights: ColumnName | None = None
    """Name of a column with the weight of each row in the loss, 0 or more: the loss is Σ wᵢ lᵢ / Σ wᵢ. Null:
    all rows have the weight 1."""
    id: IdColumns = []
    """Names of columns that identify the rows. They are not features; predictions and evaluations repeat
    their values."""

    @model_validator(mode="after")
    def _features_or_groups(self) -> "TabularDeclaration":
        if (self.features is None) == (self.feature_groups is None):
            raise ValueError("Give `features`, or `feature_groups` for an architecture with several inputs.")
        return self


class InlineColumns(TabularDeclaration):
    """A table in the request, column by column."""

    columns: Columns
    """Lists of values by column name, all of the same length."""


class InlineRows(TabularDeclaration):
    """A table in the request, row by row."""

    rows: Rows
    """List of objects, each with the values of one row by column name."""


class InlineSplit(TabularDeclaration):
    """A table in the request, as pandas' `frame.to_dict("split")`."""

    dataframe_split: DataframeSplit
    """Object with `columns`, a list of names, and `data`, a list of rows, each a list of the values in the
    order of `columns`, as in pandas' `frame.to_dict("split")`. An `index` is ignored."""


class InlineTensors(DataDeclaration):
    """Tensors in the request, as nested lists."""

    inputs: TensorInputs
    """Nested list whose first dimension is the samples; for a model with several inputs, an object of such
    lists by input name."""
    targets: Targets
    """Nested list whose first dimension is the samples: class indices [B], or values [B, …]."""
    weights: Weights | None = None
    """List [B] of the weight of each sample in the loss, 0 or more: the loss is Σ wᵢ lᵢ / Σ wᵢ. Null: all
    samples have the weight 1."""


class DatasetReference(DataDeclaration):
    """A stored dataset, either a table or tensors."""

    model_config = ConfigDict(json_schema_extra=rules(at_most_one("features", "feature_groups")))

    dataset_id: DatasetId
    """Id of the dataset."""
    features: ColumnNames | None = None
    """Names of the columns that form the model's input, a tensor [B, k] with the columns in this order. Only
    for tables."""
    feature_groups: FeatureGroups | None = None
    """Names of the columns of each input, by input name, instead of `features`, for a model with several
    inputs. Only for tables."""
    targets: ColumnNames | None = None
    """Names of the columns that the model learns to predict, in order. Required for tables."""
    weights: ColumnName | None = None
    """Name of a column with the weight of each row in the loss, 0 or more: the loss is Σ wᵢ lᵢ / Σ wᵢ. Null:
    all rows have the weight 1. The weights of tensors are their array `weights`, if they have one."""
    id: IdColumns = []
    """Names of columns that identify the rows. They are not features; predictions and evaluations repeat
    their values. Only for tables."""


FORMS: dict[str, type[DataDeclaration]] = {
    "dataset_id": DatasetReference,
    "columns": InlineColumns,
    "rows": InlineRows,
    "dataframe_split": InlineSplit,
    "inputs": InlineTensors,
}


def _form_tag(value: Any) -> str | None:
    """Return the class name of a data section's form; None if it has none of the fields in `FORMS`."""
    present = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return next((form.__name__ for key, form in FORMS.items() if key in present), None)


DataSpec = TypeAliasType(
    "DataSpec",
    Annotated[
        Annotated[InlineColumns, Tag("InlineColumns")]
        | Annotated[InlineRows, Tag("InlineRows")]
        | Annotated[InlineSplit, Tag("InlineSplit")]
        | Annotated[InlineTensors, Tag("InlineTensors")]
        | Annotated[DatasetReference, Tag("DatasetReference")],
        Discriminator(
            _form_tag,
            custom_error_type="data_form",
            custom_error_message=(
                "Give the data as `columns`, `rows`, `dataframe_split`, `inputs` and `targets`, or a "
                "`dataset_id`"
            ),
        ),
        Field(
            description="Data to train on, in exactly one form; see `columns`, `rows`, `dataframe_split`, "
            "`inputs` and `dataset_id`."
        ),
    ],
)


class DatasetContent(OneForm):
    """A dataset as JSON, in one form: `columns`, `rows`, `dataframe_split`, or `inputs` with `targets`.

    A table may also be sent as a list of rows alone, `[{"x": 1}, …]`, or as JSON Lines, one row in each line.
    """

    forms = {
        "DatasetColumns": (("columns",), ()),
        "DatasetRows": (("rows",), ()),
        "DatasetSplit": (("dataframe_split",), ()),
        "DatasetTensors": (("inputs",), ("targets", "weights")),
    }

    name: Name | None = None
    """Name for people; need not be unique."""
    columns: Columns = None
    """Lists of values by column name, all of the same length."""
    rows: Rows = None
    """List of objects, each with the values of one row by column name."""
    dataframe_split: DataframeSplit = None
    """Object with `columns`, a list of names, and `data`, a list of rows, each a list of the values in the
    order of `columns`, as in pandas' `frame.to_dict("split")`. An `index` is ignored."""
    inputs: TensorInputs = None
    """Nested list whose first dimension is the samples; for a model with several inputs, an object of such
    lists by input name."""
    targets: Targets = None
    """Nested list whose first dimension is the samples: class indices [B], or values [B, …]. Optional for a
    dataset that is only used for predictions."""
    weights: Weights | None = None
    """List [B] of the weight of each sample in the loss, 0 or more. Null: all samples have the weight 1."""
    types: ColumnTypes = {}
    """Types of columns by column name, overriding the types inferred from the values."""
    reading: CellOptions = CellOptions()
    """Formats of numbers, dates and missing values in strings."""
