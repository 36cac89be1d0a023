"""What a client declares about its data: where it is, which columns, transforms, the split."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from service.specs.base import Spec

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
ColumnNames = Annotated[list[ColumnName], Field(min_length=1)]
FeatureGroups = Annotated[dict[ColumnName, ColumnNames], Field(min_length=1)]
ColumnGroup = Literal["numeric", "all"]
ColumnType = Literal["numeric", "boolean", "categorical", "datetime"]
ColumnTypes = dict[ColumnName, ColumnType]


class TransformBase(Spec):
    """One step of preprocessing, for named columns or a group of the features."""

    columns: list[ColumnName] | ColumnGroup
    """Column names, or `numeric` / `all`: the features of that kind. Targets are named."""


class Scale(TransformBase):
    """Multiply by a constant: x · factor, in float32, as `0.1 * t_u` does in PyTorch."""

    type: Literal["scale"]
    factor: float
    """The constant; not 0."""


class Standardize(TransformBase):
    """(x − mean) / standard deviation (ddof = 0) of the training rows; zero spread maps to 0."""

    type: Literal["standardize"]


class MinMax(TransformBase):
    """The training rows' [min, max] to [0, 1]; zero spread maps to 0."""

    type: Literal["minmax"]


Transform = Annotated[Scale | Standardize | MinMax, Field(discriminator="type")]

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


class Split(Spec):
    """Which rows train, validate and test.

    `perm = torch.randperm(n, generator=torch.Generator().manual_seed(seed))`; the last
    `int(fraction · n)` rows of it validate, those before them test, the others train.
    """

    validation: Fraction | Count | None = None
    """Validation rows, as a fraction of all or a count."""
    test: Fraction | Count | None = None
    """Test rows, as a fraction of all or a count."""
    validation_rows: list[Count] | None = None
    """Validation rows by number, from 0, instead of `validation`."""
    test_rows: list[Count] | None = None
    """Test rows by number, from 0, instead of `test`."""
    shuffle: bool = True
    """`false` keeps the rows' order: the last ones validate."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the permutation."""

    @model_validator(mode="after")
    def _one_rule_per_side(self) -> "Split":
        for side in ("validation", "test"):
            if getattr(self, side) is not None and getattr(self, f"{side}_rows") is not None:
                raise ValueError(f"Give `{side}` or `{side}_rows`, not both.")
        return self


class DataDeclaration(Spec):
    """What is the same for every form of data."""

    transforms: list[Transform] = []
    """Applied in order, fitted on the training rows only; undone in the outputs for targets."""
    split: Split = Split()
    dtypes: dict[str, Literal["float32", "int64"]] = {}
    """By an input's name what it holds, where that is not float32: `int64` for an `Embedding`."""


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

    name: Annotated[str, Field(max_length=256)] | None = None
    columns: dict[str, Any] | None = None
    rows: Any = None
    inputs: Any = None
    targets: Any = None
    types: ColumnTypes = {}
    """Column name → its type, where it isn't to be what the values are."""
