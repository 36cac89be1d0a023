"""Encoding of the body of a prediction."""

from typing import Any

from torch import Tensor

from service.datasets.prepare.encode import encode, prediction_rows
from service.datasets.prepare.encoding import Encoding


def encoded_inputs(encoding: Encoding, body: Any) -> tuple[Tensor, ...]:
    """Encode all rows of a body.

    Raises:
        InvalidRequest: Cells are invalid.
    """
    raw = prediction_rows(encoding, body)
    inputs = encode(encoding, raw).inputs
    raw.errors.raise_if_any()
    return inputs
