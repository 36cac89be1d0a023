"""What a client sends to predict for: rows in one of the forms of data."""

from typing import Any

from service.specs.base import Spec


class PredictionRequest(Spec):
    """Rows to predict for: exactly one of `inputs`, `columns`, `rows` and `dataset_id`."""

    inputs: Any = None
    """Nested list [B, …]: for tabular models, the features in their order."""
    columns: dict[str, Any] | None = None
    """Column name → list of values; columns that are no features are ignored."""
    rows: Any = None
    """List of objects, column name → value."""
    dataset_id: str | None = None
    """A dataset uploaded before."""
