"""The cause of a divergence: which loss is not finite, and the row or the columns that lead to it."""

import math
from collections.abc import Callable

import torch

from service.architectures.build import build
from service.datasets.prepare.feature_warnings import LARGE, largest_values, standardize_advice
from service.datasets.samples import Samples
from service.errors import FieldError, TrainingDiverged
from service.worker.attempt import Attempt

_DATA = "#/data"
_TRIED_ROWS = 1000  # training rows on which the parameters are tried
_SMALLER_STEPS = FieldError(
    "#/training/optimizer", "Try a smaller `lr`, or set `training.gradient_clip_norm`."
)

_OUTPUTS = FieldError(
    "#/architecture",
    "The model returns values that are not finite with its initial parameters, so that a smaller `lr` does "
    "not help. Look for a division by zero, a logarithm or root of numbers that are not positive, an "
    "exponential of large numbers, and constants, buffers or initial values that are not finite.",
)
_LOSS = FieldError(
    "#/training/loss",
    "The outputs of the model with its initial parameters are finite and their loss is not, so that a "
    "smaller `lr` does not help. Use another loss, or a model whose outputs suit it.",
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
    if train_loss is None and epoch == 1 and (causes := _initial_causes(attempt)):
        detail = (
            "The training loss of epoch 1 is not finite, already before the first update of the parameters."
        )
        return TrainingDiverged(detail, causes)
    if train_loss is None or validation is None:
        detail = f"The training loss of epoch {epoch} is not finite.{kept}"
        return TrainingDiverged(detail, [*_large_columns(attempt), _SMALLER_STEPS])
    detail = f"The validation loss of epoch {epoch} is not finite, and the training loss is {train_loss:.6g}."
    position = _cause(attempt, validation, on_slice)
    if position is None:
        return TrainingDiverged(f"{detail}{kept}", [*_large_columns(attempt), _SMALLER_STEPS])
    row = _describe_row(attempt, validation, position)
    remedy = FieldError(_DATA, f"Correct {row}, or leave the row out of the data.")
    return TrainingDiverged(f"{detail} Its cause is {row}.{kept}", [remedy, *_large_columns(attempt)])


def _initial_causes(attempt: Attempt) -> list[FieldError]:
    """Find what makes the loss not finite before any update, which no learning rate changes.

    Returns:
        What to change; nothing if the updates of the first epoch may be the cause.
    """
    components, train = attempt.engine.components, attempt.data.train
    rows = train.take(slice(0, _TRIED_ROWS))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build(components.architecture)
        if components.batches.is_full_batch:  # no update has been made
            model.load_state_dict(attempt.engine.checkpoint().last.state)
        outputs = components.roles.layout.named(model(*rows.inputs))
    are_finite = all(bool(outputs[name].isfinite().all()) for name in components.roles.loss)
    large = _large_columns(attempt)
    if not are_finite:
        return [*large, _OUTPUTS]
    return (large or [_LOSS]) if components.batches.is_full_batch else []


def _large_columns(attempt: Attempt) -> list[FieldError]:
    """Advise to standardize the columns of a large magnitude; nothing if there are none."""
    train, encoding = attempt.data.train, attempt.data.encoding
    if train.order is not None:  # mapped files, which may be larger than memory
        return []
    found = largest_values(encoding, train.inputs, train.targets)
    large = {name: largest for name, largest in found.items() if largest.magnitude > LARGE}
    if not large:
        return []
    rows = attempt.data.rows.get("train", range(train.rows))
    listed = ", ".join(
        f"`{name}` (up to {largest.magnitude:.3g}, in row {int(rows[largest.position])})"
        for name, largest in large.items()
    )
    detail = f"The training rows have values of a large magnitude, {listed}: {standardize_advice([*large])}."
    return [FieldError(_DATA, detail)]


def _cause(attempt: Attempt, validation: Samples, on_slice: Callable[[], None]) -> int | None:
    """Find the position of a validation row whose loss is not finite, by bisection.

    Returns:
        The position; None if the parameters have no finite loss on training rows either, or if only the sum
        of all losses overflows.
    """

    def is_finite(samples: Samples, first: int, last: int) -> bool:
        return math.isfinite(attempt.engine.evaluate(samples.take(slice(first, last)), on_slice).loss)

    train = attempt.data.train
    if not is_finite(train, 0, min(train.rows, _TRIED_ROWS)):
        return None
    start, stop = 0, validation.rows  # invariant: the loss of validation[start:stop] is not finite
    while stop - start > 1:
        middle = (start + stop) // 2
        if not is_finite(validation, start, middle):
            stop = middle
        elif not is_finite(validation, middle, stop):
            start = middle
        else:
            return None
    return start


def _describe_row(attempt: Attempt, validation: Samples, position: int) -> str:
    """Name a validation row by its number in the dataset and its largest input."""
    inputs = validation.take(slice(position, position + 1)).inputs
    found = largest_values(attempt.data.encoding, inputs)
    rows = attempt.data.rows.get("validation", range(validation.rows))
    row = f"row {int(rows[position])} (validation)"
    if not found:
        return row
    name, largest = max(found.items(), key=lambda item: item[1].magnitude)
    return f"{row}, where the magnitude of `{name}` is {largest.magnitude:.3g}"
