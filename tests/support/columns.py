"""Single columns on their way through transforms, as the tests look at them."""

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
    """Numbers as transforms take them: NaN where one is missing."""
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)


def text(values: list[str | None]) -> pa.Array:
    """Text as transforms take it."""
    return pa.array(values, TEXT)


def fitted(values: Values, *transforms: Transform) -> list[FittedTransform]:
    """A column's transforms, fitted on these values."""
    errors = ErrorCollector()
    result = pipeline.fit([Step(each, "a", "#/step") for each in transforms], lambda column: values, errors)
    errors.raise_if_any()
    return result


def applied(transforms: list[FittedTransform], values: Values) -> list[Any]:
    """What becomes of a column, as float32; raises what is wrong with its cells."""
    errors = ErrorCollector()
    cells = Cells("a", "#/a", errors, torch.arange(len(values)))
    result = pipeline.apply(transforms, values, cells).float()
    errors.raise_if_any()
    return list(result.tolist())
