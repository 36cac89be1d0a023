"""The transforms that a client may declare for columns, in the order in which they are to be applied."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from service.specs.base import Spec

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
ColumnGroup = Literal["numeric", "categorical", "all"]
Label = bool | int | float | str
"""A value as a client writes it: of a class, or of a category."""


class TransformBase(Spec):
    """One step of preprocessing, for named columns or a group of the features."""

    columns: list[ColumnName] | ColumnGroup
    """Column names, or `numeric` / `categorical` / `all`: the features of that kind. Targets are named."""


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


class Log1p(TransformBase):
    """ln(1 + x), for values greater than −1."""

    type: Literal["log1p"]


class Clip(TransformBase):
    """Values below `min` become `min`, values above `max` become `max`; not undone in outputs."""

    type: Literal["clip"]
    min: float | None = None
    """The smallest value; null: no limit."""
    max: float | None = None
    """The largest value; null: no limit."""

    @model_validator(mode="after")
    def _limited(self) -> "Clip":
        if self.min is None and self.max is None:
            raise ValueError("Give `min`, `max` or both.")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min` is greater than `max`.")
        return self


class Categories(TransformBase):
    """What the transforms of categories have in common."""

    categories: Annotated[list[Label], Field(min_length=1)] | None = None
    """In their order; left out: those of the training rows, ascending."""

    @model_validator(mode="after")
    def _distinct(self) -> "Categories":
        if self.categories is not None and len(set(self.categories)) < len(self.categories):
            raise ValueError("A category is there twice.")
        return self


class OneHot(Categories):
    """A column of 0 and 1 for each category; the last transform of its column."""

    type: Literal["one_hot"]
    unknown: Literal["error", "zeros"] = "error"
    """What a category that isn't known becomes: an error, or 0 in all columns."""


class Ordinal(Categories):
    """The index of the category, from 0: as a float, or as an int64 input for an `Embedding`."""

    type: Literal["ordinal"]
    unknown: Literal["error", "extra"] = "error"
    """What a category that isn't known becomes: an error, or one more index after those of the known."""


class Impute(TransformBase):
    """A value for missing ones, computed of the training rows that have one."""

    type: Literal["impute"]
    strategy: Literal["mean", "median", "mode", "constant"]
    """`mode`: the most frequent value, of several the smallest; the others but `constant` are for numbers."""
    value: Label | None = None
    """With `constant`: the value."""
    indicator: bool = False
    """Whether a column `<name>_missing`, 1 where the value was missing and else 0, is added after it."""

    @model_validator(mode="after")
    def _value_with_constant(self) -> "Impute":
        if self.strategy == "constant" and self.value is None:
            raise ValueError("`value` is required with the strategy `constant`.")
        if self.strategy != "constant" and self.value is not None:
            raise ValueError("`value` goes with the strategy `constant`, and with no other.")
        return self


class DropRows(TransformBase):
    """Leave out the rows in which a column has no value, before the split, and of datasets that are a side.
    Predictions are made for all rows, so there a missing value is an error."""

    type: Literal["drop_rows"]


TRANSFORMS = (Scale, Standardize, MinMax, Log1p, Clip, OneHot, Ordinal, Impute, DropRows)

Transform = Annotated[
    Scale | Standardize | MinMax | Log1p | Clip | OneHot | Ordinal | Impute | DropRows,
    Field(discriminator="type"),
]
