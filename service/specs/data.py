"""What a client declares about its data: where it is, which columns, transforms, the split."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from service.specs.base import Name, Spec
from service.specs.split import Split
from service.specs.transforms import ColumnName, Transform

ColumnNames = Annotated[list[ColumnName], Field(min_length=1)]
FeatureGroups = Annotated[dict[ColumnName, ColumnNames], Field(min_length=1)]
ColumnType = Literal["numeric", "boolean", "categorical", "datetime"]
CONTENT = ("columns", "rows", "inputs")
"""The fields that hold data, by which forms of it are told apart."""
ColumnTypes = dict[ColumnName, ColumnType]


class DataDeclaration(Spec):
    """What is the same for every form of data."""

    transforms: list[Transform] = []
    """Applied in order, fitted on the training rows only; undone in the outputs for targets."""
    split: Split = Split()
    dtypes: dict[str, Literal["float32", "int64"]] = {}
    """By an input's name what it holds, where that is not float32: `int64` for an `Embedding`."""
    types: ColumnTypes = {}
    """By a column's name its type, where that is not the one which was found."""


class TabularDeclaration(DataDeclaration):
    """Columns by name."""

    features: ColumnNames | None = None
    """The input columns, in order: a float32 tensor [B, k]."""
    feature_groups: FeatureGroups | None = None
    """Instead of `features`, for an architecture with several inputs: the columns of each by its name."""
    targets: ColumnNames
    """The target columns, in order."""

    @model_validator(mode="after")
    def _features_or_groups(self) -> "TabularDeclaration":
        if (self.features is None) == (self.feature_groups is None):
            raise ValueError("Give `features`, or `feature_groups` for an architecture with several inputs.")
        return self


class InlineColumns(TabularDeclaration):
    """Data in the request, column by column."""

    columns: dict[str, Any]
    """Column name → list of values."""


class InlineRows(TabularDeclaration):
    """Data in the request, row by row."""

    rows: Any
    """List of objects, column name → value."""


class InlineTensors(DataDeclaration):
    """Tensors in the request, as nested lists."""

    inputs: Any
    """Nested list, first dimension the samples; or an object of them, by the names of several inputs."""
    targets: Any
    """Nested list, first dimension the samples."""


class DatasetReference(DataDeclaration):
    """A dataset uploaded before."""

    dataset_id: str
    features: ColumnNames | None = None
    """The input columns of a tabular dataset; a tensor dataset has none to name."""
    feature_groups: FeatureGroups | None = None
    """Instead of `features`, for an architecture with several inputs: the columns of each by its name."""
    targets: ColumnNames | None = None
    """The target columns of a tabular dataset; a tensor dataset has none to name."""


FORMS: dict[str, type[DataDeclaration]] = {
    "dataset_id": DatasetReference,
    "columns": InlineColumns,
    "rows": InlineRows,
    "inputs": InlineTensors,
}


def _form(value: Any) -> str | None:
    """The tag of the form a `data` section takes: told by the first of its keys that it has."""
    present = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return next((form.__name__ for key, form in FORMS.items() if key in present), None)


DataSpec = Annotated[
    Annotated[InlineColumns, Tag("InlineColumns")]
    | Annotated[InlineRows, Tag("InlineRows")]
    | Annotated[InlineTensors, Tag("InlineTensors")]
    | Annotated[DatasetReference, Tag("DatasetReference")],
    Discriminator(
        _form,
        custom_error_type="data_form",
        custom_error_message="Give the data as `columns`, `rows`, `inputs` and `targets`, or a `dataset_id`",
    ),
]


class DatasetContent(Spec):
    """The JSON body of a dataset: exactly one of `columns`, `rows`, or `inputs` with `targets`."""

    name: Name | None = None
    columns: dict[str, Any] | None = None
    rows: Any = None
    inputs: Any = None
    targets: Any = None
    types: ColumnTypes = {}
    """Column name → its type, where it isn't to be what the values are."""
