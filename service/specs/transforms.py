"""The transforms section: preprocessing of columns."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from typing_extensions import TypeAliasType

from service.specs.base import Integer, Spec, at_least_one, given, implies, one_error, published, rules

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
MAX_COLUMNS = 10_000
"""Largest number of columns of a table."""
ColumnGroup = Literal["numeric", "categorical", "datetime", "all"]
Label = TypeAliasType(
    "Label",
    Annotated[
        bool | Integer | float | str,
        WithJsonSchema(
            {
                "description": "A class or a category as a JSON value.",
                "oneOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}],
            }
        ),
    ],
)


def is_label(value: Any) -> bool:
    """Return whether a value of JSON may be a label."""
    return isinstance(value, bool | int | float | str)


LABEL = {"not": {"type": ["array", "null", "object"], "items": {}}}
"""Published schema of a label in a list, without a type, so that generated clients have plain lists."""
MAX_BUCKET_COLUMNS = 10_000
"""Largest number of buckets of `hash` that become columns."""
MAX_WINDOW_ROWS = 100_000
"""Largest number of lags, and of rows of the horizon."""


TransformColumns = TypeAliasType(
    "TransformColumns",
    Annotated[
        Annotated[list[ColumnName], Field(max_length=MAX_COLUMNS)] | ColumnGroup,
        Field(description="Names of columns, or those of the features that have a type."),
    ],
)


class TransformBase(Spec):
    """Base class of the transforms."""

    columns: TransformColumns
    """Names of columns, or `numeric`, `categorical`, `datetime` or `all` for the features of that type.
    Targets are transformed only if they are named."""


class Scale(TransformBase):
    """Multiply by a constant: x · factor, in float32, with the bits of `0.1 * tensor` in PyTorch."""

    type: Literal["scale"]
    factor: Annotated[float, published(**{"not": {"const": 0}})]
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
    """Limit values to [`min`, `max`]; not inverted in outputs. Like `torch.clamp`.

    A regression whose targets are limited has no loss and metrics in the units of the targets.
    """

    model_config = ConfigDict(json_schema_extra=rules(at_least_one("min", "max")))

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

    categories: (
        Annotated[
            list[Label],
            one_error(is_label, "text, numbers or booleans"),
            Field(min_length=1),
            published(uniqueItems=True, items=LABEL),
        ]
        | None
    ) = None
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


class Hash(TransformBase):
    """Replace a value by the index of its bucket, from 0 to `buckets` − 1, without a list of categories.

    The bucket is the first 8 bytes of the SHA-256 of the value's UTF-8, as a big-endian integer, modulo
    `buckets`. A number is hashed as its text: `12` for 12 and 12.0, `0.5` for 0.5. Different values may share
    a bucket.
    """

    type: Literal["hash"]
    buckets: Annotated[int, Field(ge=2, le=2**31)]
    """Number of buckets: the `num_embeddings` of an `Embedding`."""
    output: Literal["index", "columns"] = "index"
    """`index` for the index of the bucket, like `ordinal`, or `columns` for one column of 0 and 1 for each
    bucket, like `one_hot`."""

    @model_validator(mode="after")
    def _check_columns(self) -> "Hash":
        if self.output == "columns" and self.buckets > MAX_BUCKET_COLUMNS:
            raise ValueError(
                f"`columns` accepts at most {MAX_BUCKET_COLUMNS} buckets; use `index` as an int64 input of "
                "an `Embedding`."
            )
        return self


def _check_time(text: str) -> str:
    try:
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Should be a date or time such as 2020-01-01 or 2020-01-01T00:00:00Z.") from None
    return text


DatePart = Literal[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "day_of_year",
    "weekday",
    "hour",
    "minute",
    "second",
    "is_weekend",
    "is_month_start",
    "is_month_end",
]


class DateParts(TransformBase):
    """Replace a datetime by numbers: parts of the date and the time in UTC, and days since a date.

    Parts are named as in pandas' `Series.dt`: `month` 1 to 12, `week` of ISO 8601, `day` of the month from 1,
    `day_of_year` from 1, `weekday` from 0 for Monday; `is_weekend` is 1 on Saturday and Sunday. Numeric
    transforms after it apply to each resulting column separately.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            {"anyOf": [{"required": ["parts"], "properties": {"parts": {"minItems": 1}}}, given("since")]}
        )
    )

    type: Literal["date_parts"]
    parts: Annotated[
        list[DatePart], Field(max_length=len(get_args(DatePart))), published(uniqueItems=True)
    ] = []
    """The parts, each a column `<name>_<part>`, in this order."""
    cyclic: bool = False
    """If true, each part that repeats becomes two columns, `<name>_<part>_sin` and `<name>_<part>_cos`: sine
    and cosine of 2π · part / period. The periods are 4 quarters, 12 months, 7 weekdays, 24 hours, 60 minutes,
    60 seconds, and for `week`, `day` and `day_of_year` the length of that year or month (52 or 53, 28 to 31,
    365 or 366). `year` and the parts that begin with `is_` do not repeat and stay as they are."""
    since: Annotated[str, AfterValidator(_check_time)] | None = None
    """A date or time of ISO 8601, in UTC unless it has an offset. Adds a last column `<name>_days`: the days
    elapsed since then, with fractions, negative before it."""

    @model_validator(mode="after")
    def _check_parts(self) -> "DateParts":
        if not self.parts and self.since is None:
            raise ValueError("Give `parts`, `since` or both.")
        if len(set(self.parts)) < len(self.parts):
            raise ValueError("`parts` contains a part twice; give each once.")
        return self


class Impute(TransformBase):
    """Replace missing values by a statistic of the training rows or by a constant."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            implies({"properties": {"strategy": {"const": "constant"}}}, given("value")),
            implies(given("value"), {"properties": {"strategy": {"const": "constant"}}}),
        )
    )

    type: Literal["impute"]
    strategy: Literal["mean", "median", "mode", "constant"]
    """The statistic: `mean` or `median` of a numeric or datetime column, `mode` for the most frequent value
    (of equally frequent ones the smallest), or `constant` for `value`."""
    value: Label | None = None
    """The constant; required with the strategy `constant`, not allowed with others. For a datetime, a time of
    ISO 8601."""
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
    `test_dataset_id`, and from evaluations. Predictions need all rows, so a missing value in their input
    is an error.
    """

    type: Literal["drop_rows"]


class Window(Spec):
    """Join consecutive rows of a time series to windows, after all other transforms.

    The inputs of a window are the features of `lags` rows, [B, lags, k]; its targets are those of the
    `horizon` rows that follow, [B, horizon, m], or [B, 1] for one row and one target (class indices: [B]
    for one row, otherwise [B, horizon]). A column may be feature and target. With it, `validation` and `test`
    of the split are the latest rows by default: a window belongs to the split of its targets, and its inputs
    may be earlier rows of another split. A prediction has one item for each `lags` consecutive rows sent.
    """

    type: Literal["window"]
    order: ColumnName
    """Column that orders the rows: a datetime or a number. Each row of a series has its own value."""
    by: Annotated[list[ColumnName], Field(max_length=MAX_COLUMNS), published(uniqueItems=True)] = []
    """Columns whose values identify a series, if the table has several. A window never spans two series."""
    lags: Annotated[int, Field(ge=1, le=MAX_WINDOW_ROWS)]
    """Number of rows of the inputs."""
    horizon: Annotated[int, Field(ge=1, le=MAX_WINDOW_ROWS)] = 1
    """Number of rows of the targets."""

    @model_validator(mode="after")
    def _check_columns(self) -> "Window":
        if len({self.order, *self.by}) < 1 + len(self.by):
            raise ValueError("`order` and `by` contain a column twice; give each once.")
        return self


TRANSFORMS = (
    Scale,
    Standardize,
    MinMax,
    Log1p,
    Clip,
    OneHot,
    Ordinal,
    Hash,
    DateParts,
    Impute,
    DropRows,
    Window,
)
ColumnTransform = (
    Scale | Standardize | MinMax | Log1p | Clip | OneHot | Ordinal | Hash | DateParts | Impute | DropRows
)
"""A transform of columns, unlike `window`, which is one of the table."""

Transform = TypeAliasType(
    "Transform",
    Annotated[
        ColumnTransform | Window,
        Field(discriminator="type", description="A transform: the `type` determines the other fields."),
    ],
)
