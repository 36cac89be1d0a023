"""Named arrays of a file as a tensor dataset: `inputs` or several `inputs.<name>`, `targets`, `weights`."""

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from service.datasets.dataset import TensorDataset
from service.datasets.sources.columns import check_name
from service.datasets.tensor_file import DTYPES, Tensor, slices
from service.datasets.validation import ErrorCollector, count_of, quote_name
from service.errors import MAX_LISTED_ERRORS, pointer_to
from service.specs.base import did_you_mean

INPUTS, TARGETS, WEIGHTS = "inputs", "targets", "weights"
SINGLE_INPUT: Final = "input"
"""Name of the only input."""
MAX_ARRAYS = 1_000  # of one file


def check_array_count(count: int, errors: ErrorCollector) -> None:
    """Check the number of arrays in a file before they are read.

    Raises:
        InvalidRequest: There are more than `MAX_ARRAYS`.
    """
    if count > MAX_ARRAYS:
        errors.fail("#", f"The file has {count:,} arrays; at most {MAX_ARRAYS:,} are supported.")


def as_dataset(
    arrays: Mapping[str, Tensor], errors: ErrorCollector, unread: Collection[str] = ()
) -> TensorDataset:
    """Make a dataset of named arrays.

    Args:
        arrays: `inputs` [B, …], or one or more `inputs.<name>` [B, …]; optionally `targets` [B, …] and
            `weights` [B].
        errors: Errors found before in the same file; raised together with those found here.
        unread: Names of the other arrays of the file, which have an error already.

    Raises:
        InvalidRequest: The file has errors; lists the first 100 and counts all.
    """
    inputs: dict[str, Tensor] = {}
    for name, array in arrays.items():
        pointer = pointer_to("#", name)
        if _is_input(name):
            input_name = name.partition(".")[2] if "." in name else SINGLE_INPUT
            check_name(input_name, pointer, errors)
            inputs[input_name] = array
        elif name not in (TARGETS, WEIGHTS):
            hint = did_you_mean(name, (INPUTS, TARGETS, WEIGHTS)) or "."
            supported = "`inputs`, or several `inputs.<name>`, `targets` and `weights`"
            errors.add(
                pointer, f"{quote_name(name)} is not a supported name; arrays are called {supported}{hint}"
            )
            continue
        _check_array(array, name, pointer, errors)
        _check_finite(array, name, pointer, errors)
    if not inputs and not any(map(_is_input, unread)):
        errors.add("#", "There is no array called `inputs` or `inputs.<name>`.")
    if INPUTS in arrays and len(inputs) > 1:
        errors.add(pointer_to("#", INPUTS), "Give `inputs`, or several `inputs.<name>`, not both.")
    targets, weights = arrays.get(TARGETS), arrays.get(WEIGHTS)
    if all(array.ndim for array in arrays.values()):
        check_sample_counts(inputs, {TARGETS: targets, WEIGHTS: weights}, "#", errors)
    errors.raise_if_any()
    return TensorDataset(inputs, targets, weights)


def _is_input(name: str) -> bool:
    return name == INPUTS or name.startswith(f"{INPUTS}.")


def check_sample_counts(
    inputs: Mapping[str, Tensor], others: Mapping[str, Tensor | None], pointer: str, errors: ErrorCollector
) -> None:
    """Check that all tensors have as many samples as the first input, and that weights are [B].

    Args:
        inputs: [B, …] each.
        others: `targets` and `weights`, [B, …] each.
        pointer: Pointer to the object of `inputs` and `others`.
        errors: Receives an error for each tensor with another number of samples or a wrong shape.
    """
    weights = others[WEIGHTS]
    if weights is not None and weights.ndim != 1:
        detail = f"Weights must have shape [B], not {list(weights.shape)}: one number for each sample."
        errors.add(pointer_to(pointer, WEIGHTS), detail)
    if not inputs:
        return
    first, samples = next((name, len(tensor)) for name, tensor in inputs.items())
    found = {name: (tensor, pointer_to(pointer, INPUTS, name)) for name, tensor in inputs.items()}
    found |= {name: (other, pointer_to(pointer, name)) for name, other in others.items() if other is not None}
    for name, (tensor, tensor_pointer) in found.items():
        if len(tensor) != samples:
            counts = (
                f"{quote_name(name)} has {count_of(len(tensor), 'sample')}, {quote_name(first)} has {samples}"
            )
            errors.add(tensor_pointer, f"{counts}.")


def _check_array(array: Tensor, name: str, pointer: str, errors: ErrorCollector) -> None:
    """Check the type and the shape of an array."""
    shape = list(array.shape)
    if array.dtype.kind in "US":
        remedy = f"number the classes: names, {name} = numpy.unique({name}, return_inverse=True)"
        errors.add(pointer, f"{quote_name(name)} is an array of text ({array.dtype.str}); {remedy}.")
    elif array.dtype.name not in DTYPES.values() or not array.dtype.isnative:
        supported = f"{', '.join(DTYPES.values())}, in little-endian order"
        errors.add(pointer, f"{quote_name(name)} is of type {array.dtype.str}; supported are {supported}.")
    elif array.size == 0 or not shape:
        errors.add(pointer, f"{quote_name(name)} has shape {shape}, which has no samples.")


def _check_finite(array: Tensor, name: str, pointer: str, errors: ErrorCollector) -> None:
    """Check that an array [B, …] contains no infinite numbers and, except for targets, no NaN."""
    if array.dtype.kind != "f" or not array.ndim:
        return
    samples = 0  # before the current piece
    for piece in slices(array):
        bad = np.isinf(piece) if name == TARGETS else ~np.isfinite(piece)  # NaN is a missing target
        if bad.any():
            positions = np.argwhere(bad)  # [bad values, dimensions]
            for sample, *rest in positions[:MAX_LISTED_ERRORS].tolist():
                found = str(piece[(sample, *rest)].item()).replace("inf", "infinity")
                detail = f"{found} is not a finite number; a tensor can't have missing values."
                errors.add(pointer_to(pointer, samples + sample, *rest), detail)
            errors.add_unlisted(len(positions[MAX_LISTED_ERRORS:]))
        samples += len(piece)
