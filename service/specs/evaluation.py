"""What a client sends to evaluate on: rows in one of the forms of data, with their targets."""

from typing import Any, Self

from pydantic import model_validator

from service.specs.prediction import PredictionRequest


class EvaluationRequest(PredictionRequest):
    """Labelled rows: `inputs` with `targets`, or one of `columns`, `rows` and `dataset_id` that hold both."""

    targets: Any = None
    """Nested list [B, …], beside `inputs`; columns hold the targets under their names."""

    @model_validator(mode="after")
    def _targets_beside_inputs(self) -> Self:
        if "targets" in self.model_fields_set and "inputs" not in self.model_fields_set:
            raise ValueError("`targets` go with `inputs`: columns and rows hold theirs under their names.")
        return self
