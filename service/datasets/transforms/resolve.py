"""Resolution of declared transforms into steps, each a transform of one column."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from service.datasets.transforms.registry import TRANSFORM_TYPES, ColumnState
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.transforms import Categories, Impute, Scale, Transform

# Column types of the features that each word of `columns` selects.
_GROUPS: Mapping[str, set[str]] = {
    "numeric": {"numeric", "tensor"},
    "categorical": {"categorical"},
    "all": {"numeric", "boolean", "categorical", "datetime", "tensor"},
}


class Step(NamedTuple):
    """A declared transform of one column.

    Attributes:
        transform: The transform.
        column: Name of the column.
        pointer: Location of the column in the request.
    """

    transform: Transform
    column: str
    pointer: str


@dataclass(frozen=True)
class Columns:
    """The columns or tensors that transforms may name.

    Attributes:
        types: `numeric`, `boolean`, `categorical` or `datetime` for each column; `tensor` for each tensor.
        features: Names of the features, from which `numeric`, `categorical` and `all` select.
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
    states: dict[str, ColumnState] = {
        name: "text" if column_type == "categorical" else "numbers"
        for name, column_type in columns.types.items()
    }
    for number, transform in enumerate(transforms):
        transform_pointer = pointer_to(pointer, number)
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
            states[name] = TRANSFORM_TYPES[transform.type].output or states[name]
    return steps


def _with_order(transform: Transform, name: str, columns: Columns) -> Transform:
    """Fill in the categories of a column whose categories have an order."""
    ordered = columns.categories.get(name)
    if ordered is None or not isinstance(transform, Categories) or transform.categories is not None:
        return transform
    return transform.model_copy(update={"categories": list(ordered)})


def _columns_of(transform: Transform, columns: Columns, pointer: str) -> Iterator[tuple[str, str]]:
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
    for number, transform in enumerate(transforms):
        for position, name in enumerate(transform.columns if isinstance(transform.columns, list) else ()):
            if name not in names:
                errors.add(pointer_to(pointer, number, "columns", position), _unknown(name, names))


def _unknown(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, names) or f". The features and targets are {', '.join(names)}."
    return f"`{name}` is neither a feature nor a target{hint}"


def _incompatibility(transform: Transform, name: str, columns: Columns, state: ColumnState) -> str | None:
    """Explain why a column cannot be transformed as declared; None if it can."""
    transform_type = TRANSFORM_TYPES[transform.type]
    if columns.types[name] == "tensor" and not transform_type.tensors:
        return f"`{name}` is a tensor, and `{transform.type}` accepts only columns of a table."
    if name in columns.targets and not transform_type.targets:
        remedy = (
            "; for classes use `CrossEntropyLoss`, which needs no transform" if transform_type.output else ""
        )
        return f"`{name}` is a target: `{transform.type}` could not be inverted in the outputs{remedy}."
    if state == "columns":
        return (
            f"`{name}` is already one-hot encoded, and `one_hot` must be the last transform of a column; move "
            f"`{transform.type}` before it."
        )
    if state == "text" and not transform_type.text:
        return (
            f"`{name}` is text, and `{transform.type}` needs numbers; use `one_hot` instead, or `ordinal` "
            "before it."
        )
    if state == "text" and isinstance(transform, Impute) and transform.strategy in ("mean", "median"):
        return (
            f"`{name}` is text, which has no {transform.strategy}; use `mode`, or `constant` with a `value`."
        )
    return None


def _is_invertible(factor: float) -> bool:
    rounded = torch.tensor(factor, dtype=torch.float32).item()
    return rounded != 0 and math.isfinite(rounded)
