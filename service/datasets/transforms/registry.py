"""Table of transform types: the fitted class of each, and the columns that it accepts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.datasets.transforms.categories import FittedOneHot, FittedOrdinal
from service.datasets.transforms.fitted import FittedTransform
from service.datasets.transforms.missing import FittedImpute
from service.datasets.transforms.numeric import (
    FittedClip,
    FittedLog1p,
    FittedMinMax,
    FittedScale,
    FittedStandardize,
)

ColumnState = Literal["numbers", "text", "columns"]
"""Content of a column between two transforms; `columns` are several, of 0 and 1."""


@dataclass(frozen=True)
class TransformType:
    """A type of transform.

    Attributes:
        fitted: The fitted class; None for `drop_rows`, whose rows are dropped before transforms are fitted.
        text: Whether it accepts text; all types accept numbers.
        output: State of the column after it; None if unchanged.
        targets: Whether it accepts targets.
        tensors: Whether it accepts tensors, element by element.
    """

    fitted: type[FittedTransform] | None
    text: bool = False
    output: ColumnState | None = None
    targets: bool = False
    tensors: bool = False


TRANSFORM_TYPES: Mapping[str, TransformType] = {
    "scale": TransformType(FittedScale, targets=True, tensors=True),
    "standardize": TransformType(FittedStandardize, targets=True, tensors=True),
    "minmax": TransformType(FittedMinMax, targets=True, tensors=True),
    "log1p": TransformType(FittedLog1p, targets=True, tensors=True),
    "clip": TransformType(FittedClip, targets=True, tensors=True),
    "one_hot": TransformType(FittedOneHot, text=True, output="columns"),
    "ordinal": TransformType(FittedOrdinal, text=True, output="numbers"),
    "impute": TransformType(FittedImpute, text=True),
    "drop_rows": TransformType(None, text=True, targets=True),
}


def from_document(document: Mapping[str, Any]) -> FittedTransform:
    """Restore a fitted transform from `FittedTransform.to_document`."""
    fitted = TRANSFORM_TYPES[document["type"]].fitted
    if fitted is None:
        raise ValueError(f"{document['type']} has no fitted form.")
    constants = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name != "type"
    }
    return fitted(**constants)  # type: ignore[arg-type] # the fields that `to_document` wrote
