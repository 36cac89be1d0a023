"""The transforms section: preprocessing of columns."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.specs.base import Spec

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
ColumnGroup = Literal["numeric", "categorical", "all"]
Label = bool | int | float | str
"""A class or a category as a JSON value."""


class TransformBase(Spec):
    """Base class of the transforms."""

    columns: list[ColumnName] | ColumnGroup
    """Names of columns, or `numeric`, `categorical` or `all` for the features of that type. Targets are
    transformed only if they are named."""


class Scale(TransformBase):
    """Multiply by a constant: x · factor, in float32, with the bits of `0.1 * tensor` in PyTorch."""

    type: Literal["scale"]
    factor: float
    """The constant; must not be 0."""


class Standardize(TransformBase):
    """Standardize: (x − mean) / std, with mean and standard deviation (ddof = 0) of the training rows.

    The result is 0 if std is 0. Like `sklearn.preprocessing.StandardScaler`.
    """

    type: Literal["standardize"]


class MinMax(TransformBase):
    """Map the range of the training rows to [0, 1]: (x − min) / (max − min).

    The result is 0 if max equals min. Like `sklearn.preprocessing.MinMaxScaler`.
    """

    type: Literal["minmax"]


class Log1p(TransformBase):
    """Natural logarithm of 1 + x, for x > −1; other values are errors. Like `torch.log1p`."""

    type: Literal["log1p"]


class Clip(TransformBase):
    """Limit values to [`min`, `max`]; not inverted in outputs. Like `torch.clamp`."""

    type: Literal["clip"]
    min: float | None = None
    """Lower limit; null for none."""
    max: float | None = None
    """Upper limit; null for none."""

    @model_validator(mode="after")
    def _check_limits(self) -> "Clip":
        if self.min is None and self.max is None:
            raise ValueError("Give `min`, `max` or both.")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min` is greater than `max`.")
        return self


class Categories(TransformBase):
    """Base class of the transforms of categories."""

    categories: Annotated[list[Label], Field(min_length=1)] | None = None
    """The categories, in the order of their indices. Null: those of the training rows, in ascending order
    (texts that are all numbers in the order of the numbers), or, of ordered categories of pandas in a Parquet
    or Arrow file, all categories in their order."""

    @model_validator(mode="after")
    def _check_distinct(self) -> "Categories":
        if self.categories is not None and len(set(self.categories)) < len(self.categories):
            raise ValueError("`categories` contains a category twice; give each once.")
        return self


class OneHot(Categories):
    """Replace a column by one column of 0 and 1 for each category. Must be the column's last transform."""

    type: Literal["one_hot"]
    unknown: Literal["error", "zeros"] = "error"
    """Result for an unknown category: `error`, or `zeros` for 0 in all columns."""


class Ordinal(Categories):
    """Replace a category by its index, from 0.

    The index is a float32 feature, or, with `dtypes`, an int64 input for an `Embedding`.
    """

    type: Literal["ordinal"]
    unknown: Literal["error", "extra"] = "error"
    """Result for an unknown category: `error`, or `extra` for one additional index, the number of known
    categories."""


class Impute(TransformBase):
    """Replace missing values by a statistic of the training rows or by a constant."""

    type: Literal["impute"]
    strategy: Literal["mean", "median", "mode", "constant"]
    """The statistic: `mean` or `median` of a numeric column, `mode` for the most frequent value (of equally
    frequent ones the smallest), or `constant` for `value`."""
    value: Label | None = None
    """The constant; required with the strategy `constant`, not allowed with others."""
    indicator: bool = False
    """If true, add a column `<name>_missing` after this one: 1 where the value was missing, otherwise 0."""

    @model_validator(mode="after")
    def _check_value(self) -> "Impute":
        if self.strategy == "constant" and self.value is None:
            raise ValueError("`value` is required with the strategy `constant`.")
        if self.strategy != "constant" and self.value is not None:
            raise ValueError("`value` is only allowed with the strategy `constant`.")
        return self


class DropRows(TransformBase):
    """Drop the rows in which one of the columns has a missing value.

    Rows are dropped before the split, also from the datasets of `validation_dataset_id` and
    `test_dataset_id`. Predictions need all rows, so a missing value in their input is an error.
    """

    type: Literal["drop_rows"]


TRANSFORMS = (Scale, Standardize, MinMax, Log1p, Clip, OneHot, Ordinal, Impute, DropRows)

Transform = Annotated[
    Scale | Standardize | MinMax | Log1p | Clip | OneHot | Ordinal | Impute | DropRows,
    Field(discriminator="type"),
]
