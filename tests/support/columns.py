"""Transforms of single columns, fitted and applied."""

from typing import Any

import pyarrow as pa
import torch

from service.datasets.sources.columns import TEXT
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import FittedTransform, Values
from service.datasets.transforms.resolve import Step
from service.datasets.validation import Cells, ErrorCollector
from service.specs.transforms import Transform


def numbers(values: list[float | None]) -> torch.Tensor:
    """Return numbers as the input of a transform, float64 [N]; None is NaN."""
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)


def text(values: list[str | None]) -> pa.Array:
    """Return text as the input of a transform."""
    return pa.array(values, TEXT)


def fitted(values: Values, *transforms: Transform) -> list[FittedTransform]:
    """Fit the transforms of a column."""
    errors = ErrorCollector()
    result = pipeline.fit([Step(each, "a", "#/step") for each in transforms], lambda column: values, errors)
    errors.raise_if_any()
    return result


def applied(transforms: list[FittedTransform], values: Values) -> list[Any]:
    """Apply fitted transforms to a column; return float32 values.

    Raises:
        InvalidRequest: Cells are invalid.
    """
    errors = ErrorCollector()
    cells = Cells("a", "#/a", errors, torch.arange(len(values)))
    result = pipeline.apply(transforms, values, cells).float()
    errors.raise_if_any()
    return list(result.tolist())
