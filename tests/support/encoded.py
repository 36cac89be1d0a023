"""Encodings of data sections, and of the bodies of predictions."""

from typing import Any

from torch import Tensor

from service.datasets.prepare.declared_data import TargetType
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import JobDatasets, prepare
from service.datasets.prepare.request_rows import prediction_rows
from service.datasets.sources.json import read_json
from tests.support.thermometer import declared


def encoding_of(section: dict[str, Any], target_type: TargetType = "values") -> Encoding:
    """Fit the encoding of a data section with inline data."""
    declaration = declared(**section)
    dataset = read_json(section, "#/data", options=declaration.read_options())
    return prepare(JobDatasets(dataset), declaration, target_type).encoding


def encoded_inputs(encoding: Encoding, body: Any) -> tuple[Tensor, ...]:
    """Encode all rows of a body.

    Raises:
        InvalidRequest: Cells are invalid.
    """
    raw = prediction_rows(encoding, body)
    inputs = encode(encoding, raw).inputs
    raw.errors.raise_if_any()
    return inputs
