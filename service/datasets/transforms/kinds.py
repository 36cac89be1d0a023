"""The kinds of transform there are: of each its fitted class, and what it may be declared for."""

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

State = Literal["numbers", "text", "columns"]
"""What a column is on its way: `columns` is several, of 0 and 1."""


@dataclass(frozen=True)
class Kind:
    """One kind of transform.

    Attributes:
        fitted: its class; None where nothing is fitted (rows that are dropped are gone before).
        text: whether it takes text as well as numbers.
        gives: what the column is after it; None: what it was.
        targets: whether targets can be transformed so.
        tensors: whether tensors can be transformed so, element by element.
    """

    fitted: type[FittedTransform] | None
    text: bool = False
    gives: State | None = None
    targets: bool = False
    tensors: bool = False


KINDS: Mapping[str, Kind] = {
    "scale": Kind(FittedScale, targets=True, tensors=True),
    "standardize": Kind(FittedStandardize, targets=True, tensors=True),
    "minmax": Kind(FittedMinMax, targets=True, tensors=True),
    "log1p": Kind(FittedLog1p, targets=True, tensors=True),
    "clip": Kind(FittedClip, targets=True, tensors=True),
    "one_hot": Kind(FittedOneHot, text=True, gives="columns"),
    "ordinal": Kind(FittedOrdinal, text=True, gives="numbers"),
    "impute": Kind(FittedImpute, text=True),
    "drop_rows": Kind(None, text=True, targets=True),
}


def from_document(document: Mapping[str, Any]) -> FittedTransform:
    """The inverse of `FittedTransform.to_document`."""
    fitted = KINDS[document["type"]].fitted
    if fitted is None:
        raise ValueError(f"{document['type']} has no fitted form.")
    constants = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name != "type"
    }
    return fitted(**constants)  # type: ignore[arg-type] # what `to_document` wrote
