"""The body of a prediction request."""

from typing import Any

from service.specs.base import Spec


class PredictionRequest(Spec):
    """Rows to predict, in exactly one form: `inputs`, `columns`, `rows` or `dataset_id`."""

    inputs: Any = None
    """Nested list [B, …] of the model's input; for a model trained on a table, the features in order. For a
    model with several inputs, an object of such lists by input name."""
    columns: dict[str, Any] | None = None
    """Lists of values by column name; columns that are not features are ignored."""
    rows: Any = None
    """List of objects, each with the values of one row by column name; columns that are not features are
    ignored."""
    dataset_id: str | None = None
    """Id of a stored dataset."""
