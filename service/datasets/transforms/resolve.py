"""From the declared transforms to the steps of each column, or what is wrong with them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from service.datasets.transforms.kinds import KINDS, State
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.transforms import Impute, Scale, Transform

_GROUPS: Mapping[str, set[str]] = {
    "numeric": {"numeric", "tensor"},
    "categorical": {"categorical"},
    "all": {"numeric", "boolean", "categorical", "datetime", "tensor"},
}
_STATES: Mapping[str, State] = {"categorical": "text"}  # of types; all others are numbers


class Step(NamedTuple):
    """A declared transform of one column, and its place in the request."""

    transform: Transform
    column: str
    pointer: str


@dataclass(frozen=True)
class Columns:
    """What transforms may be declared for.

    Attributes:
        types: `numeric`, `boolean`, `categorical` or `datetime` of each column, `tensor` of each tensor.
        features: the names that the group words mean.
        targets: the names of the targets.
    """

    types: Mapping[str, str]
    features: Sequence[str]
    targets: Sequence[str]


def resolve(
    transforms: Sequence[Transform],
    columns: Columns,
    errors: ErrorCollector,
    pointer: str = "#/data/transforms",
) -> list[Step]:
    """The single steps that declared transforms come to, in order.

    Args:
        transforms: as declared.
        columns: what they may be declared for.
        errors: where columns that can't be transformed so are noted.
        pointer: the place of the list in the request.
    """
    steps = []
    states = {name: _STATES.get(kind, "numbers") for name, kind in columns.types.items()}
    for number, transform in enumerate(transforms):
        place = pointer_to(pointer, number)
        if isinstance(transform, Scale) and not _is_usable_factor(transform.factor):
            detail = f"{transform.factor:g} is 0 or infinite in float32: the scaling could not be undone."
            errors.add(pointer_to(place, "factor"), detail)
        for name, column_place in _named(transform, columns, pointer_to(place, "columns")):
            if name not in columns.types:
                errors.add(column_place, _unknown(name, [*columns.types]))
                continue
            if misfit := _misfit(transform, name, columns, states[name]):
                errors.add(column_place, misfit)
                continue
            steps.append(Step(transform, name, column_place))
            states[name] = KINDS[transform.type].gives or states[name]
    return steps


def _named(transform: Transform, columns: Columns, pointer: str) -> Iterator[tuple[str, str]]:
    """(name, pointer) of each column that a transform names or means."""
    if isinstance(transform.columns, list):
        for number, name in enumerate(transform.columns):
            yield name, pointer_to(pointer, number)
        return
    for name in columns.features:
        if columns.types[name] in _GROUPS[transform.columns]:
            yield name, pointer


def check_columns(
    transforms: Sequence[Transform],
    named: Sequence[str],
    errors: ErrorCollector,
    pointer: str = "#/data/transforms",
) -> None:
    """Note the columns of transforms that are neither features nor targets, where only names are known."""
    for number, transform in enumerate(transforms):
        for place, name in enumerate(transform.columns if isinstance(transform.columns, list) else ()):
            if name not in named:
                errors.add(pointer_to(pointer, number, "columns", place), _unknown(name, named))


def _unknown(name: str, named: Sequence[str]) -> str:
    hint = did_you_mean(name, named) or f". They are: {', '.join(named)}."
    return f"`{name}` is neither a feature nor a target{hint}"


def _misfit(transform: Transform, name: str, columns: Columns, state: State) -> str | None:
    """Why a column can't be transformed so; None when it can."""
    kind = KINDS[transform.type]
    if columns.types[name] == "tensor" and not kind.tensors:
        return f"`{name}` is a tensor, and `{transform.type}` is for columns."
    if name in columns.targets and not kind.targets:
        remedy = ": a loss of classes, as `CrossEntropyLoss`, takes it as it is" if kind.gives else ""
        return f"`{name}` is a target: `{transform.type}` could not be undone in the outputs{remedy}."
    if state == "columns":
        return (
            f"`{name}` is one column for each category by now: `one_hot` is the last transform of a column."
        )
    if state == "text" and not kind.text:
        return (
            f"`{name}` is text, and `{transform.type}` takes numbers: make it `one_hot` or `ordinal` first."
        )
    if state == "text" and isinstance(transform, Impute) and transform.strategy in ("mean", "median"):
        return (
            f"`{name}` is text, which has no {transform.strategy}: take `mode`, or `constant` with a `value`."
        )
    return None


def _is_usable_factor(factor: float) -> bool:
    rounded = torch.tensor(factor, dtype=torch.float32).item()
    return rounded != 0 and math.isfinite(rounded)
