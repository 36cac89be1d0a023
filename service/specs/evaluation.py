"""The body of an evaluation request."""

from typing import Self

from pydantic import model_validator

from service.specs.content import Targets, Weights
from service.specs.prediction import PredictionRequest


class EvaluationRequest(PredictionRequest):
    """Rows with targets, in exactly one form: `columns`, `rows`, `dataframe_split`, `inputs` with `targets`,
    or `dataset_id`.

    Rows may also be sent as a list alone, `[{"x": 1}, …]`, or as JSON Lines, one row in each line.
    """

    forms = {
        **{name: form for name, form in PredictionRequest.forms.items() if name != "RowsAsInputs"},
        "LabelledInputs": (("inputs", "targets"), ("weights",)),
    }

    targets: Targets = None
    """Nested list [B, …] of the targets of `inputs`. The other forms contain the targets as columns."""

    weights: Weights | None = None
    """List [B] of the weights of `inputs` in the loss. The other forms may contain the weights as the column
    that the training named. Null: all rows have the weight 1."""

    @model_validator(mode="after")
    def _beside_inputs(self) -> Self:
        for name in ("targets", "weights"):
            if name in self.model_fields_set and "inputs" not in self.model_fields_set:
                raise ValueError(
                    f"`{name}` requires `inputs`; the other forms contain the {name} as columns."
                )
        return self
