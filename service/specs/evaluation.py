"""The body of an evaluation request."""

from typing import Any, Self

from pydantic import model_validator

from service.specs.prediction import PredictionRequest


class EvaluationRequest(PredictionRequest):
    """Rows with targets, in exactly one form: `columns`, `rows`, `dataframe_split`, `inputs` with `targets`,
    or `dataset_id`.

    Rows may also be sent as a list alone, `[{"x": 1}, …]`, or as JSON Lines, one row in each line.
    """

    targets: Any = None
    """Nested list [B, …] of the targets of `inputs`. The other forms contain the targets as columns."""

    @model_validator(mode="after")
    def _targets_beside_inputs(self) -> Self:
        if "targets" in self.model_fields_set and "inputs" not in self.model_fields_set:
            raise ValueError("`targets` requires `inputs`; the other forms contain the targets as columns.")
        return self
