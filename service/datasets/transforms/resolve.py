"""Resolution of declared transforms into steps, each a transform of one column."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch

from service.datasets.transforms.registry import TRANSFORM_TYPES, ColumnState
from service.datasets.validation import ErrorCollector, json_text
from service.errors import pointer_to
from service.specs.base import did_you_mean, list_names
from service.specs.transforms import Categories, ColumnTransform, Impute, Scale, Transform, Window

# Column types of the features that each word of `columns` selects.
_GROUPS: Mapping[str, set[str]] = {
    "numeric": {"numeric", "tensor"},
    "categorical": {"categorical"},
    "datetime": {"datetime"},
    "all": {"numeric", "boolean", "categorical", "datetime", "tensor"},
}
# Content of a column by its type; numbers for other types.
_STATES: Mapping[str, ColumnState] = {"categorical": "text", "datetime": "times"}

COPY_OF_TARGET = "send a copy of the column under another name as the feature, and transform the copy"
"""Remedy for a transform that a feature needs and, because it is a target too, can't have."""


class Step(NamedTuple):
    """A declared transform of one column.

    Attributes:
        transform: The transform.
        column: Name of the column.
        pointer: Location of the column in the request.
    """

    transform: ColumnTransform
    column: str
    pointer: str


@dataclass(frozen=True)
class Columns:
    """The columns or tensors that transforms may name.

    Attributes:
        types: `numeric`, `boolean`, `categorical` or `datetime` for each column; `tensor` for each tensor.
        features: Names of the features, from which the words of `columns` select.
        targets: Names of the targets.
        categories: Categories, in their order, of columns whose categories have an order.
    """

    types: Mapping[str, str]
    features: Sequence[str]
    targets: Sequence[str]
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)


def resolve(
    transforms: Sequence[Transform],
    columns: Columns,
    errors: ErrorCollector,
    pointer: str = "#/data/transforms",
) -> list[Step]:
    """Resolve declared transforms into steps, in order.

    Args:
        transforms: The declared transforms.
        columns: The columns that they may name.
        errors: Receives an error for each column that cannot be transformed as declared.
        pointer: Location of the transforms in the request.
    """
    steps = []
    # State of each column before the next transform.
    states = {name: _STATES.get(column_type, "numbers") for name, column_type in columns.types.items()}
    for number, transform in enumerate(transforms):
        transform_pointer = pointer_to(pointer, number)
        if isinstance(transform, Window):  # joins rows, see `prepare.windows`
            continue
        if isinstance(transform, Scale) and not _is_invertible(transform.factor):
            detail = f"{transform.factor:g} is 0 or infinite in float32; the scaling could not be inverted."
            errors.add(pointer_to(transform_pointer, "factor"), detail)
        for name, column_pointer in _columns_of(transform, columns, pointer_to(transform_pointer, "columns")):
            if name not in columns.types:
                errors.add(column_pointer, _unknown(name, [*columns.types]))
                continue
            if problem := _incompatibility(transform, name, columns, states[name]):
                errors.add(column_pointer, problem)
                continue
            steps.append(Step(_with_order(transform, name, columns), name, column_pointer))
            if output := TRANSFORM_TYPES[transform.type].output:
                states[name] = output(transform)
    return steps


def _with_order(transform: ColumnTransform, name: str, columns: Columns) -> ColumnTransform:
    """Fill in the categories of a column whose categories have an order."""
    ordered = columns.categories.get(name)
    if ordered is None or not isinstance(transform, Categories) or transform.categories is not None:
        return transform
    return transform.model_copy(update={"categories": list(ordered)})


def converted_columns(transforms: Sequence[Transform], columns: Columns) -> set[str]:
    """Return the columns that transforms were meant to convert from text or datetimes to numbers."""
    return {
        name
        for each in transforms
        if not isinstance(each, Window) and TRANSFORM_TYPES[each.type].output is not None
        for name, _ in _columns_of(each, columns, "")
    }


def _columns_of(transform: ColumnTransform, columns: Columns, pointer: str) -> Iterator[tuple[str, str]]:
    """Iterate over (name, pointer) of each column that a transform lists or selects."""
    if isinstance(transform.columns, list):
        for number, name in enumerate(transform.columns):
            yield name, pointer_to(pointer, number)
        return
    for name in columns.features:
        if columns.types[name] in _GROUPS[transform.columns]:
            yield name, pointer


def check_columns(
    transforms: Sequence[Transform],
    names: Sequence[str],
    errors: ErrorCollector,
    pointer: str = "#/data/transforms",
) -> None:
    """Report columns of transforms that are neither features nor targets; column types are not needed.

    Args:
        transforms: The declared transforms.
        names: Names of features and targets.
        errors: Receives the errors.
        pointer: Location of the transforms in the request.
    """
    known = set(names)
    for number, transform in enumerate(transforms):
        columns = [] if isinstance(transform, Window) else transform.columns
        for position, name in enumerate(columns if isinstance(columns, list) else ()):
            if name not in known:
                errors.add(pointer_to(pointer, number, "columns", position), partial(_unknown, name, names))


def _unknown(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, names) or f". The features and targets are {list_names(names)}."
    return f"`{name}` is neither a feature nor a target{hint}"


def _incompatibility(
    transform: ColumnTransform, name: str, columns: Columns, state: ColumnState
) -> str | None:
    """Explain why a column cannot be transformed as declared; None if it can."""
    transform_type = TRANSFORM_TYPES[transform.type]
    if columns.types[name] == "tensor" and not transform_type.tensors:
        return f"`{name}` is a tensor, and `{transform.type}` accepts only columns of a table."
    if name in columns.targets and not transform_type.targets:
        is_for_categories = "text" in transform_type.accepts and transform_type.output is not None
        remedy = "; for classes use `CrossEntropyLoss`, which needs no transform" if is_for_categories else ""
        if name in columns.features:
            remedy = f"; it is a feature too: {COPY_OF_TARGET}"
        return f"`{name}` is a target: `{transform.type}` could not be inverted in the outputs{remedy}."
    if state not in transform_type.accepts:
        if name in columns.targets:
            found = {"text": "is text", "times": "is a datetime"}[state]
            return f"`{name}` {found}, and `{transform.type}` needs numbers; remove this target from it."
        return _state_problem(transform, name, state)
    if state == "text" and isinstance(transform, Impute) and transform.strategy in ("mean", "median"):
        return (
            f"`{name}` is text, which has no {transform.strategy}; use `mode`, or `constant` with a `value`."
        )
    return None


def _state_problem(transform: ColumnTransform, name: str, state: ColumnState) -> str:
    """Explain why a transform does not accept the content of a column."""
    if state == "indicators":
        return (
            f"`{name}` has already become a column of 0 and 1 for each category, by `one_hot` or `hash`, "
            f"which must be the last transform of a column; move `{transform.type}` before it."
        )
    if state == "parts":
        remedy = (
            f"put `{transform.type}` before it" if transform.type == "impute" else "give it one part only"
        )
        return f"`{name}` has already become several columns by `date_parts`; {remedy}."
    if state == "times":
        return f"`{name}` is a datetime, and `{transform.type}` needs numbers; put `date_parts` before it."
    if transform.type == "date_parts":
        found = "is text" if state == "text" else "holds numbers"
        remedy = f'declare `"types": {{{json_text(name)}: "datetime"}}` in `data`, if its values are dates'
        return f"`{name}` {found}, and `date_parts` needs a datetime; {remedy}."
    remedy = "use `one_hot` instead, or `ordinal` before it"
    return f"`{name}` is text, and `{transform.type}` needs numbers; {remedy}."


def _is_invertible(factor: float) -> bool:
    rounded = torch.tensor(factor, dtype=torch.float32).item()
    return rounded != 0 and math.isfinite(rounded)
