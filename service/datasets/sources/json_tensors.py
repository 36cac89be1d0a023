"""Tensors in JSON as nested lists, `{"inputs": [[1, 2], [3, 4]], "targets": [0, 1]}`."""

from collections.abc import Mapping
from typing import Any

from service.datasets.dataset import Tensor, TensorDataset
from service.datasets.sources.columns import check_name
from service.datasets.sources.nested_lists import read_nested
from service.datasets.sources.tensors import SINGLE_INPUT, TARGETS, WEIGHTS, check_sample_counts
from service.datasets.validation import ErrorCollector, quote_value
from service.errors import pointer_to


def read_json_tensors(document: Mapping[str, Any], pointer: str, errors: ErrorCollector) -> TensorDataset:
    """Read the `inputs`, and the `targets` and `weights` if there are any, of a document.

    Args:
        document: The document.
        pointer: Its pointer.
        errors: Errors found before; raised together with those found here.

    Raises:
        InvalidRequest: The document has errors.
    """
    inputs = _read_inputs(document["inputs"], pointer_to(pointer, "inputs"), errors)
    targets = weights = None
    if TARGETS in document:
        pointer_of_targets = pointer_to(pointer, TARGETS)
        targets = read_nested(document[TARGETS], pointer_of_targets, errors, allows_missing=True)
    if document.get(WEIGHTS) is not None:
        weights = read_nested(document[WEIGHTS], pointer_to(pointer, WEIGHTS), errors)
    check_sample_counts(inputs, {TARGETS: targets, WEIGHTS: weights}, pointer, errors)
    errors.raise_if_any()
    return TensorDataset(inputs, targets, weights)


def _read_inputs(inputs: Any, pointer: str, errors: ErrorCollector) -> dict[str, Tensor]:
    """Read a nested list, or an object of nested lists; tensors with errors are left out."""
    if isinstance(inputs, dict):
        if not inputs:
            errors.add(pointer, "Give at least one named tensor; found none.")
        pointers = {name: pointer_to(pointer, name) for name in inputs}
        for name in inputs:
            check_name(name, pointers[name], errors)
    else:
        inputs, pointers = {SINGLE_INPUT: inputs}, {SINGLE_INPUT: pointer}
    tensors = {}
    for name, nested in inputs.items():
        tensor = read_nested(nested, pointers[name], errors)
        if tensor is not None:
            tensors[name] = tensor
    return tensors


def wrapping_remedy(values: Tensor) -> str:
    """Return a message that shows how to make [B] into [B, 1], with the client's own first values."""
    first = ", ".join(f"[{quote_value(value)}]" for value in values[:2].tolist())
    return f"wrap each value, [{first}{', …' if len(values) > 2 else ''}]."
