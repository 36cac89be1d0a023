"""Datasets: records with statistics of their columns, pages, and rows."""

from typing import Any, Literal

from typing_extensions import TypeAliasType

from service.api.schemas.base import Resource, Timestamp
from service.specs.base import DatasetId

Extreme = TypeAliasType("Extreme", float | str)


class Histogram(Resource):
    """Number of values in each of about 20 bins of equal width."""

    edges: list[float]
    """Edges of the bins in ascending order, one more than bins. A bin includes its lower edge; the last one
    includes both of its edges."""
    counts: list[int]


class Column(Resource):
    """A column of a dataset, with the statistics that its type has.

    Statistics are exact, with two exceptions computed on `sampled_rows` rows spread over the data:
    `histogram`, and, for more than 10,000 distinct values, `distinct` and `categories`.
    """

    name: str
    type: Literal["numeric", "boolean", "categorical", "datetime", "tensor"]
    count: int
    """Number of values."""
    missing: int
    """Number of missing values."""
    min: Extreme | None = None
    """Minimum; RFC 3339 for datetimes."""
    max: Extreme | None = None
    """Maximum; RFC 3339 for datetimes."""
    mean: float | None = None
    """Mean; for booleans, the fraction that is true."""
    std: float | None = None
    """Standard deviation with ddof = 0."""
    distinct: int | None = None
    """Number of distinct values."""
    histogram: Histogram | None = None
    """Histogram; null when all values are equal."""
    categories: list[str] | None = None
    """The 100 most frequent values, by descending frequency, then ascending value."""
    category_counts: list[int] | None = None
    """Frequency of each of `categories`."""
    shape: list[int] | None = None
    """Shape of a tensor, [B, …]."""
    dtype: str | None = None


class Dataset(Resource):
    """A dataset."""

    id: DatasetId
    name: str | None
    kind: Literal["tabular", "tensors"]
    """`tabular` for named columns, `tensors` for named tensors."""
    rows: int
    bytes: int
    """Stored size."""
    sampled_rows: int
    """Number of rows that the sampled statistics were computed on."""
    columns: list[Column]
    warnings: list[str]
    """Suspicious properties of the data. The response to an upload begins with what its file had to be read
    with, such as an index that was left out; another file may have the same data."""
    created_at: Timestamp
    inline: bool
    """True if the data was sent with a job. Such a dataset is deleted once no job uses it, unless equal data
    is uploaded."""
    links: dict[str, str]
    """Paths of related resources."""


class DatasetPage(Resource):
    """A page of datasets, newest first."""

    items: list[Dataset]
    next_page_token: str | None
    """Token of the next page; null on the last page."""


class RowPage(Resource):
    """Rows of a dataset, in order."""

    offset: int
    """Index of the first returned row."""
    total: int
    """Number of rows in the dataset."""
    rows: list[dict[str, Any]]
    """Rows as objects of column name to value."""
