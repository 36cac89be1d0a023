"""Table of transform types: the fitted class of each, and the columns that it accepts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from service.datasets.transforms.categories import FittedOneHot, FittedOrdinal
from service.datasets.transforms.dates import FittedDateParts
from service.datasets.transforms.fitted import FittedTransform
from service.datasets.transforms.hashing import FittedHash
from service.datasets.transforms.missing import FittedImpute
from service.datasets.transforms.numeric import (
    FittedClip,
    FittedLog1p,
    FittedMinMax,
    FittedScale,
    FittedStandardize,
)
from service.specs import transforms as specs

ColumnState = Literal["numbers", "text", "times", "parts", "indicators"]
"""Content of a column between two transforms.

`parts` are several columns of numbers, `indicators` several of 0 and 1.
"""


@dataclass(frozen=True)
class TransformType:
    """A type of transform.

    Attributes:
        fitted: The fitted class; None for `drop_rows`, whose rows are dropped before transforms are fitted.
        accepts: States of a column that it accepts.
        output: Returns the state of the column after the declared transform; None if unchanged.
        targets: Whether it accepts targets.
        tensors: Whether it accepts tensors, element by element.
    """

    fitted: type[FittedTransform] | None
    accepts: tuple[ColumnState, ...] = ("numbers", "parts")
    output: Callable[[Any], ColumnState] | None = None
    targets: bool = False
    tensors: bool = False


def _after_hash(declared: specs.Hash) -> ColumnState:
    return "numbers" if declared.output == "index" else "indicators"


def _after_date_parts(declared: specs.DateParts) -> ColumnState:
    fitted = FittedDateParts("", tuple(declared.parts), declared.cyclic, declared.since)
    return "numbers" if len(fitted.titles()) == 1 else "parts"


_CATEGORIES: tuple[ColumnState, ...] = ("numbers", "text")
TRANSFORM_TYPES: Mapping[str, TransformType] = {
    "scale": TransformType(FittedScale, targets=True, tensors=True),
    "standardize": TransformType(FittedStandardize, targets=True, tensors=True),
    "minmax": TransformType(FittedMinMax, targets=True, tensors=True),
    "log1p": TransformType(FittedLog1p, targets=True, tensors=True),
    "clip": TransformType(FittedClip, targets=True, tensors=True),
    "one_hot": TransformType(FittedOneHot, _CATEGORIES, output=lambda _: "indicators"),
    "ordinal": TransformType(FittedOrdinal, _CATEGORIES, output=lambda _: "numbers"),
    "hash": TransformType(FittedHash, _CATEGORIES, output=_after_hash),
    "date_parts": TransformType(FittedDateParts, ("times",), output=_after_date_parts),
    "impute": TransformType(FittedImpute, ("numbers", "text", "times")),
    "drop_rows": TransformType(None, get_args(ColumnState), targets=True),
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
