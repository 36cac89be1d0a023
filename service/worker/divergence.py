"""The cause of a divergence: which loss is not finite, and the row or the columns that lead to it."""

import math
from collections.abc import Callable

from service.datasets.prepare.feature_warnings import LARGE, magnitudes, standardize_advice
from service.datasets.samples import Samples
from service.errors import FieldError, TrainingDiverged
from service.training.engines.base import Training
from service.worker.attempt import Attempt

_DATA = "#/data"
_SMALLER_STEPS = FieldError(
    "#/training/optimizer", "Try a smaller `lr`, or set `training.gradient_clip_norm`."
)


def divergence(attempt: Attempt, on_slice: Callable[[], None]) -> TrainingDiverged:
    """Describe why a training has diverged, and what to change.

    Args:
        attempt: The attempt, after an epoch with a loss that is not finite.
        on_slice: Called after each slice that is evaluated; an exception that it raises ends the search.
    """
    epoch, best, validation = attempt.engine.epoch, attempt.engine.best, attempt.data.validation
    kept = f" The parameters of epoch {best.epoch} are kept." if best is not None else ""
    train_loss = None if attempt.latest is None else attempt.latest["train_loss"]
    if train_loss is None or validation is None:
        detail = f"The training loss of epoch {epoch} is not finite.{kept}"
        return TrainingDiverged(detail, [*_large_columns(attempt), _SMALLER_STEPS])
    detail = f"The validation loss of epoch {epoch} is not finite, and the training loss is {train_loss:.6g}."
    position = _first_not_finite(attempt.engine, validation, on_slice)
    if position is None:
        return TrainingDiverged(f"{detail}{kept}", [*_large_columns(attempt), _SMALLER_STEPS])
    row = _describe_row(attempt, validation, position)
    remedy = FieldError(_DATA, f"Correct {row}, or leave the row out of the data.")
    return TrainingDiverged(f"{detail} Its cause is {row}.{kept}", [remedy, *_large_columns(attempt)])


def _large_columns(attempt: Attempt) -> list[FieldError]:
    """Advise to standardize the columns of a large magnitude; nothing if there are none."""
    train, encoding = attempt.data.train, attempt.data.encoding
    if train.order is not None:  # mapped files, which may be larger than memory
        return []
    large = {name: value for name, value in magnitudes(encoding, train.inputs).items() if value > LARGE}
    if not large:
        return []
    listed = ", ".join(f"`{name}` (up to {value:.3g})" for name, value in large.items())
    detail = f"The training rows have values of a large magnitude, {listed}: {standardize_advice([*large])}."
    return [FieldError(_DATA, detail)]


def _first_not_finite(engine: Training, samples: Samples, on_slice: Callable[[], None]) -> int | None:
    """Find the position of a sample whose loss is not finite, by bisection; None if there is none."""
    start, stop = 0, samples.rows  # invariant: the loss of samples[start:stop] is not finite
    while stop - start > 1:
        middle = (start + stop) // 2
        for first, last in ((start, middle), (middle, stop)):
            if not math.isfinite(engine.evaluate(samples.take(slice(first, last)), on_slice).loss):
                start, stop = first, last
                break
        else:
            return None  # only the sum of all losses overflows
    return start


def _describe_row(attempt: Attempt, validation: Samples, position: int) -> str:
    """Name a validation row by its number in the dataset and its largest input."""
    inputs = validation.take(slice(position, position + 1)).inputs
    sizes = magnitudes(attempt.data.encoding, inputs)
    largest = max(sizes, key=sizes.__getitem__, default=None)
    rows = attempt.data.rows.get("validation")
    row = f"validation row {position}" if rows is None else f"row {int(rows[position])} (validation)"
    return row if largest is None else f"{row}, where the magnitude of `{largest}` is {sizes[largest]:.3g}"
