"""Named arrays of a file as a tensor dataset: `inputs` or `inputs.<name>` of several, and `targets`."""

from collections.abc import Mapping

import numpy as np

from service.datasets.dataset import TensorDataset
from service.datasets.sources.columns import check_name
from service.datasets.sources.json import SINGLE_INPUT, check_samples
from service.datasets.tensor_file import DTYPES, Tensor, slices
from service.datasets.validation import MOST_LISTED, ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean

INPUTS, TARGETS = "inputs", "targets"


def as_dataset(arrays: Mapping[str, Tensor], errors: ErrorCollector) -> TensorDataset:
    """The dataset that named arrays make.

    Args:
        arrays: `inputs` [B, …], or `inputs.<name>` each; `targets` [B, …] where there are any.
        errors: what was noted before about the same file; raised with what is found here.

    Raises:
        InvalidRequest: with every error, or the first 100 of them and their number.
    """
    inputs: dict[str, Tensor] = {}
    for name, array in arrays.items():
        place = pointer_to("#", name)
        if name == INPUTS or name.startswith(f"{INPUTS}."):
            input_name = name.partition(".")[2] if "." in name else SINGLE_INPUT
            check_name(input_name, place, errors)
            inputs[input_name] = array
        elif name != TARGETS:
            hint = did_you_mean(name, (INPUTS, TARGETS)) or "."
            detail = f"`{name}`: arrays are called `inputs`, `inputs.<name>` of several, `targets`{hint}"
            errors.add(place, detail)
            continue
        _check_array(array, name, place, errors)
        _note_not_finite(array, place, errors)
    if not inputs:
        errors.add("#", "There is no array called `inputs`, or `inputs.<name>`.")
    if INPUTS in arrays and len(inputs) > 1:
        errors.add(pointer_to("#", INPUTS), "Give `inputs`, or `inputs.<name>` of several, not both.")
    targets = arrays.get(TARGETS)
    if all(array.ndim for array in arrays.values()):
        check_samples(inputs, targets, "#", errors)
    errors.raise_if_any()
    return TensorDataset(inputs, targets)


def _check_array(array: Tensor, name: str, place: str, errors: ErrorCollector) -> None:
    """Note a type or a shape that can't be taken."""
    shape = list(array.shape)
    if array.dtype.name not in DTYPES.values() or not array.dtype.isnative:
        taken = ", ".join(DTYPES.values())
        errors.add(place, f"`{name}` holds {array.dtype.str}; taken are {taken}, in little-endian order.")
    elif array.size == 0 or not shape:
        errors.add(place, f"`{name}` has the shape {shape}: there are no samples in it.")
    elif len(shape) == 1 and (name != TARGETS or array.dtype.kind == "f"):
        errors.add(place, f"`{name}` has the shape {shape}: make it {[*shape, 1]}, one row a sample.")


def _note_not_finite(array: Tensor, place: str, errors: ErrorCollector) -> None:
    if array.dtype.kind != "f" or not array.ndim:
        return
    samples = 0
    for piece in slices(array):
        if not np.isfinite(piece).all():
            where = np.argwhere(~np.isfinite(piece))
            for sample, *rest in where[:MOST_LISTED].tolist():
                found = str(piece[(sample, *rest)].item()).replace("inf", "infinity")
                detail = f"{found} is not a number that can be trained on: a tensor has no missing values."
                errors.add(pointer_to(place, samples + sample, *rest), detail)
            errors.add_unlisted(len(where[MOST_LISTED:]))
        samples += len(piece)
