"""Chains of transforms of a column: fit, apply, invert."""

from collections.abc import Callable, Iterable, Sequence

import torch

from service.datasets.transforms.fitted import (
    Affine,
    CannotFit,
    FittedTransform,
    ValueRange,
    Values,
    numbers,
)
from service.datasets.transforms.missing import has_indicator, is_missing
from service.datasets.transforms.registry import TRANSFORM_TYPES
from service.datasets.transforms.resolve import Step
from service.datasets.validation import Cells, ErrorCollector


def fit(
    steps: Iterable[Step], values_of: Callable[[str], Values], errors: ErrorCollector
) -> list[FittedTransform]:
    """Fit the steps of each column on its training rows, each step on the result of the preceding ones.

    Args:
        steps: Steps from `resolve`.
        values_of: Returns the training rows of a column. Only one column is in memory at a time.
        errors: Receives an error for each step that cannot be fitted.

    Returns:
        The fitted transforms of each column, in the order of its steps.
    """
    by_column: dict[str, list[Step]] = {}
    for step in steps:
        if TRANSFORM_TYPES[step.transform.type].fitted is not None:
            by_column.setdefault(step.column, []).append(step)
    fitted: list[FittedTransform] = []
    for column, column_steps in by_column.items():
        fitted += _fit_column(column_steps, values_of(column), errors)
    return fitted


def _fit_column(steps: Sequence[Step], values: Values, errors: ErrorCollector) -> list[FittedTransform]:
    fitted: list[FittedTransform] = []
    is_split = False
    # Discard errors of cells here: they are reported when all rows of the column are encoded.
    discarded = Cells("", "", ErrorCollector(), range(len(values)))
    for position, step in enumerate(steps):
        fitted_class = TRANSFORM_TYPES[step.transform.type].fitted
        assert fitted_class is not None
        try:
            # Columns that a datetime has become have constants of their own; a tensor [B, …] has one of each.
            parts = numbers(values).unbind(dim=1) if is_split else [values]
            transform = fitted_class.join(
                [fitted_class.fit(step.transform, step.column, part) for part in parts]
            )
        except CannotFit as error:
            errors.add(step.pointer, f"`{step.column}` {error}.")
            break
        fitted.append(transform)
        if (names := transform.titles()) is not None:
            is_split = len(names) > 1
        if position < len(steps) - 1:
            values = transform.apply(values, discarded)
    return fitted


def by_column(transforms: Iterable[FittedTransform]) -> dict[str, list[FittedTransform]]:
    """Group fitted transforms by column; those of one column stay in order."""
    grouped: dict[str, list[FittedTransform]] = {}
    for transform in transforms:
        grouped.setdefault(transform.column, []).append(transform)
    return grouped


def apply(transforms: Sequence[FittedTransform], values: Values, cells: Cells) -> torch.Tensor:
    """Apply the transforms of a column.

    Args:
        transforms: Transforms of the column, in order.
        values: Raw values of the column.
        cells: Receives an error for each cell that cannot be transformed.

    Returns:
        float64 or float32, [B, …], or [B, k] if the column becomes k columns; NaN for missing values.
    """
    indicators = []
    for transform in transforms:
        if has_indicator(transform):
            indicators.append(is_missing(values).double())  # [B]
        values = transform.apply(values, cells)
    encoded = numbers(values)
    if indicators:
        columns = encoded if encoded.dim() > 1 else encoded[:, None]  # [B, k]
        encoded = torch.cat([columns, torch.stack(indicators, dim=1)], dim=1)  # [B, k + indicators]
    return encoded


def invert(transforms: Sequence[FittedTransform], outputs: torch.Tensor) -> torch.Tensor:
    """Convert outputs [B, …] for a column to the units of the column, float64.

    float32 would round them: at 1.7e9, the seconds of a timestamp, its neighbouring values differ by 128.
    """
    first, *more = inverse_steps(transforms)
    outputs = outputs.double() * first.factor + first.offset
    for step in more:
        outputs = outputs.expm1() * step.factor + step.offset
    return outputs


def inverse_steps(transforms: Sequence[FittedTransform]) -> list[Affine]:
    """Return the inverse of a chain of transforms: affine steps, with an `expm1` between each two."""
    steps = [Affine(1.0, 0.0)]
    for transform in reversed(transforms):
        inverse = transform.inverse()
        if inverse is None:
            steps.append(Affine(1.0, 0.0))
        else:
            factor, offset = inverse
            steps[-1] = Affine(factor * steps[-1].factor, factor * steps[-1].offset + offset)
    return steps


def titles(column: str, transforms: Sequence[FittedTransform]) -> list[str]:
    """Name the columns that a column becomes: itself, or one per category or part; then its indicators."""
    indicators = [f"{column}_missing" for transform in transforms if has_indicator(transform)]
    return [*_encoded_titles(column, transforms), *indicators]


def _encoded_titles(column: str, transforms: Sequence[FittedTransform]) -> list[str]:
    renamed = (transform.titles() for transform in reversed(transforms))
    return next((names for names in renamed if names is not None), [column])


def ranges(transforms: Sequence[FittedTransform]) -> list[ValueRange | None]:
    """Return the ranges of the columns that a column becomes, see `FittedTransform.ranges`."""
    return transforms[-1].ranges() if transforms else []
