"""The body of a prediction request."""

from service.specs.base import DatasetId
from service.specs.content import ModelColumns, ModelRows, ModelSplit, OneForm, TensorInputs


class PredictionRequest(OneForm):
    """Rows to predict, in exactly one form: `inputs`, `columns`, `rows`, `dataframe_split` or `dataset_id`.

    Rows may also be sent as a list alone, `[{"x": 1}, …]`, or as JSON Lines, one row in each line.
    """

    forms = {
        "RowsAsInputs": (("inputs",), ()),
        "RowsAsColumns": (("columns",), ()),
        "RowsAsObjects": (("rows",), ()),
        "RowsAsSplit": (("dataframe_split",), ()),
        "RowsOfDataset": (("dataset_id",), ()),
    }

    inputs: TensorInputs = None
    """Nested list [B, …] of the model's input; for a model trained on a table, the features in order. For a
    model with several inputs, an object of such lists by input name."""
    columns: ModelColumns = None
    """Lists of values by column name; columns that are not features are ignored."""
    rows: ModelRows = None
    """List of objects, each with the values of one row by column name; columns that are not features are
    ignored."""
    dataframe_split: ModelSplit = None
    """Object with `columns`, a list of names, and `data`, a list of rows, each a list of the values in the
    order of `columns`, as in pandas' `frame.to_dict("split")`. An `index` is ignored."""
    dataset_id: DatasetId | None = None
    """Id of a stored dataset."""
