"""The fitted transforms of a column, one after the other."""

from collections.abc import Callable, Iterable, Sequence

import torch

from service.datasets.transforms.fitted import CannotFit, FittedTransform, Values, numbers
from service.datasets.transforms.kinds import KINDS
from service.datasets.transforms.missing import has_indicator, is_missing
from service.datasets.transforms.resolve import Step
from service.datasets.validation import Cells, ErrorCollector


def fit(
    steps: Iterable[Step], values_of: Callable[[str], Values], errors: ErrorCollector
) -> list[FittedTransform]:
    """Fit each step on what the steps before it leave of its column.

    Args:
        steps: from `resolve`.
        values_of: the training rows of a column by its name; one column is held at a time.
        errors: where steps that can't be fitted are noted.

    Returns:
        The fitted transforms of each column, in the order of its steps.
    """
    by_column: dict[str, list[Step]] = {}
    for step in steps:
        if KINDS[step.transform.type].fitted is not None:
            by_column.setdefault(step.column, []).append(step)
    fitted: list[FittedTransform] = []
    for column, its_steps in by_column.items():
        fitted += _fit_column(its_steps, values_of(column), errors)
    return fitted


def _fit_column(steps: Sequence[Step], values: Values, errors: ErrorCollector) -> list[FittedTransform]:
    fitted = []
    # What is wrong with a cell is told when the column is encoded, with all rows.
    unheard = Cells("", "", ErrorCollector(), range(len(values)))
    for position, step in enumerate(steps):
        kind = KINDS[step.transform.type].fitted
        assert kind is not None
        try:
            transform = kind.fit(step.transform, step.column, values)
        except CannotFit as error:
            errors.add(step.pointer, f"`{step.column}` {error}.")
            break
        fitted.append(transform)
        if position < len(steps) - 1:
            values = transform.apply(values, unheard)
    return fitted


def apply(transforms: Sequence[FittedTransform], values: Values, cells: Cells) -> torch.Tensor:
    """A raw column as the model sees it: float64 or float32, [B, …] or, of several columns, [B, k].

    What is still missing is NaN.

    Args:
        transforms: those of the column, in order.
        values: the raw column.
        cells: where values that can't be transformed are noted.
    """
    indicators = []
    for transform in transforms:
        if has_indicator(transform):
            indicators.append(is_missing(values).double())
        values = transform.apply(values, cells)
    encoded = numbers(values)
    if indicators:
        wide = encoded if encoded.dim() > 1 else encoded[:, None]
        encoded = torch.cat([wide, torch.stack(indicators, dim=1)], dim=1)
    return encoded


def invert(transforms: Sequence[FittedTransform], outputs: torch.Tensor) -> torch.Tensor:
    """What the model puts out for a column, [B, …], in the column's own units, float32."""
    for transform in reversed(transforms):
        outputs = transform.invert(outputs)
    return outputs.float()


def titles(column: str, transforms: Sequence[FittedTransform]) -> list[str]:
    """The names of the columns that a column becomes: its own or one for each category, then indicators."""
    own = transforms[-1].titles() if transforms else [column]
    beside = [f"{column}_missing" for transform in transforms if has_indicator(transform)]
    return [*own, *beside]
