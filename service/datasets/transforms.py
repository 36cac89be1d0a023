"""Transforms of single columns: fitted on training rows, applied to features, undone in outputs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch

from service.datasets.mistakes import Mistakes
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.data import Scale, Transform


@dataclass(frozen=True)
class FittedTransform(ABC):
    """One transform of one column, with its constants. Of what `apply` gets, float64 [B], only the last
    result is rounded to float32, so that a chain rounds once."""

    type: ClassVar[str]
    column: str

    @abstractmethod
    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """The transformed values [B]."""

    @abstractmethod
    def invert(self, values: torch.Tensor) -> torch.Tensor:
        """The values [B] that `apply` would take to these."""

    def to_document(self) -> dict[str, Any]:
        """Type, column and constants as JSON."""
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True)
class FittedScale(FittedTransform):
    """x · factor in float32, bit for bit what PyTorch gives for a Python number times a float32 tensor."""

    type: ClassVar[str] = "scale"
    factor: float

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        return self.factor * values.float()

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.float() / self.factor


@dataclass(frozen=True)
class FittedStandardize(FittedTransform):
    """(x − mean) / std in float64; 0 where std is 0."""

    type: ClassVar[str] = "standardize"
    mean: float
    std: float

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        return _shrink(values, self.mean, self.std)

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.double() * self.std + self.mean


@dataclass(frozen=True)
class FittedMinMax(FittedTransform):
    """(x − min) / (max − min) in float64; 0 where they are equal."""

    type: ClassVar[str] = "minmax"
    min: float
    max: float

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        return _shrink(values, self.min, self.max - self.min)

    def invert(self, values: torch.Tensor) -> torch.Tensor:
        return values.double() * (self.max - self.min) + self.min


FITTED: Mapping[str, type[FittedTransform]] = {
    cls.type: cls for cls in (FittedScale, FittedStandardize, FittedMinMax)
}


_GROUPS: Mapping[str, set[str]] = {"numeric": {"numeric"}, "all": {"numeric", "boolean"}}


def _shrink(values: torch.Tensor, offset: float, spread: float) -> torch.Tensor:
    values = values.double()
    return (values - offset) / spread if spread else torch.zeros_like(values)


def from_document(document: Mapping[str, Any]) -> FittedTransform:
    """The inverse of `FittedTransform.to_document`."""
    constants = {name: value for name, value in document.items() if name != "type"}
    return FITTED[document["type"]](**constants)


class Step(NamedTuple):
    """A declared transform of one column, and its place in the request."""

    transform: Transform
    column: str
    pointer: str


def resolve(
    transforms: Sequence[Transform],
    columns: Mapping[str, str],
    features: Sequence[str],
    mistakes: Mistakes,
    pointer: str = "#/data/transforms",
) -> list[Step]:
    """The single steps that declared transforms come to, in order.

    Args:
        transforms: as declared; a group word means features only.
        columns: name → `numeric`, `boolean` or `categorical`, of all features and targets.
        features: names of the features.
        mistakes: where columns that can't be transformed so are noted.
        pointer: the place of the list in the request.
    """
    steps = []
    for number, transform in enumerate(transforms):
        place = pointer_to(pointer, number)
        if isinstance(transform, Scale) and not _is_usable_factor(transform.factor):
            detail = f"{transform.factor:g} is 0 or infinite in float32: the scaling could not be undone."
            mistakes.add(pointer_to(place, "factor"), detail)
        for name, column_place in _columns_of(transform, columns, features, pointer_to(place, "columns")):
            if name in columns and columns[name] != "categorical":
                steps.append(Step(transform, name, column_place))
            else:
                mistakes.add(column_place, _refusal(name, columns))
    return steps


def _columns_of(
    transform: Transform, columns: Mapping[str, str], features: Sequence[str], pointer: str
) -> list[tuple[str, str]]:
    """(name, pointer) of each column that a transform names or means."""
    if isinstance(transform.columns, list):
        return [(name, pointer_to(pointer, number)) for number, name in enumerate(transform.columns)]
    return [(name, pointer) for name in features if columns[name] in _GROUPS[transform.columns]]


def _refusal(name: str, columns: Mapping[str, str]) -> str:
    if name in columns:
        return f"`{name}` is text: only numbers and booleans can be transformed so."
    hint = did_you_mean(name, columns) or f". They are: {', '.join(columns)}."
    return f"`{name}` is neither a feature nor a target{hint}"


def _is_usable_factor(factor: float) -> bool:
    rounded = torch.tensor(factor, dtype=torch.float32).item()
    return rounded != 0 and math.isfinite(rounded)


def fit(
    steps: Sequence[Step], columns: Mapping[str, torch.Tensor], mistakes: Mistakes
) -> list[FittedTransform]:
    """Fit each step on what the steps before it leave.

    Args:
        steps: from `resolve`.
        columns: float64 [training rows] by name.
        mistakes: where columns with values too large to fit on are noted.
    """
    values = dict(columns)
    fitted = []
    for step in steps:
        constants = _FITTERS[step.transform.type](step.transform, values[step.column].double())
        if not all(map(math.isfinite, constants.values())):
            detail = f"The values of `{step.column}` are too large: {step.transform.type} overflows on them."
            mistakes.add(step.pointer, detail)
        transform = FITTED[step.transform.type](step.column, **constants)
        values[step.column] = transform.apply(values[step.column])
        fitted.append(transform)
    return fitted


def apply(transforms: Sequence[FittedTransform], column: str, values: torch.Tensor) -> torch.Tensor:
    """A raw column, float64 [B], as the model sees it, float32 [B]."""
    for transform in transforms:
        if transform.column == column:
            values = transform.apply(values)
    return values.float()


def invert(transforms: Sequence[FittedTransform], column: str, values: torch.Tensor) -> torch.Tensor:
    """What the model puts out for a column, [B], in the column's own units, float32 [B]."""
    for transform in reversed(transforms):
        if transform.column == column:
            values = transform.invert(values)
    return values.float()


def _fit_standardize(values: torch.Tensor) -> dict[str, float]:
    low, high = values.min().item(), values.max().item()
    if low == high:  # the rounded mean of equal values may differ from them, and leave a tiny spread
        return {"mean": low, "std": 0.0}
    return {"mean": values.mean().item(), "std": values.std(correction=0).item()}


_FITTERS: Mapping[str, Callable[[Any, torch.Tensor], dict[str, float]]] = {
    "scale": lambda transform, values: {"factor": transform.factor},
    "standardize": lambda transform, values: _fit_standardize(values),
    "minmax": lambda transform, values: {"min": values.min().item(), "max": values.max().item()},
}
