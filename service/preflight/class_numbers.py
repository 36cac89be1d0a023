"""The numbers of the classes, which depend on the outputs of the model.

Integer targets that are indices of outputs stay as they are, as in PyTorch; other labels are numbered in
sorted order. A job that starts from another one keeps the numbers that the outputs of that model have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.datasets.prepare.classes import CLASSES, are_indices, quote_labels
from service.datasets.prepare.encoding import IGNORED, Encoding
from service.datasets.prepare.prepare import Prepared, renumber
from service.datasets.validation import quote_value
from service.errors import FieldError, pointer_to
from service.jobs.data import INDICES, REPORTED_CLASSES, number_as_reported
from service.jobs.parent import FROM_JOB, Parent
from service.specs.transforms import Label
from service.training.check import output_width, quantity_warning
from service.training.class_weights import LOSS


@dataclass(frozen=True)
class NumberedData:
    """Data whose classes have their numbers.

    Attributes:
        prepared: The data.
        report: Entry of the job's report, by which the worker repeats the numbers.
        errors: Labels and outputs that don't fit each other; loss and metrics can't be tried then.
        warnings: Numbers that are probably not intended.
    """

    prepared: Prepared
    report: Mapping[str, Any]
    errors: Sequence[FieldError] = ()
    warnings: Sequence[FieldError] = ()


def number_as_parent(prepared: Prepared, declared: Sequence[Label] | None, parent: Parent) -> NumberedData:
    """Number the classes of the exact continuation of a job, as that job does."""
    report = {key: value for key, value in parent.report.items() if key == REPORTED_CLASSES}
    return NumberedData(number_as_reported(prepared, declared, parent.report), report)


def number_classes(
    prepared: Prepared, declared: Sequence[Label] | None, outputs: Tensor, parent: Encoding | None
) -> NumberedData:
    """Number the classes of any other job.

    Args:
        prepared: The data, with the classes that are declared or else in sorted order.
        declared: The list `data.classes`.
        outputs: Outputs of the model for a batch, [B, …] on the meta device.
        parent: Encoding of the job that this one starts from.
    """
    encoding = prepared.encoding
    if encoding.classes is None:
        return NumberedData(prepared, {REPORTED_CLASSES: None})
    single = _single_class(prepared)
    # Otherwise other checks compare the shapes.
    fits = outputs.dim() > 1 and outputs.shape[2:] == prepared.train.targets.shape[1:]
    counts_outputs = not encoding.is_binary and fits
    width = output_width(outputs)
    values: Sequence[Label] = encoding.classes
    error = None
    if declared is not None:
        if counts_outputs and len(declared) != width:
            detail = (
                f"`classes` lists {len(declared)} classes and the model has {width} outputs; list {width}."
            )
            error = FieldError(CLASSES, detail)
    elif kept := _inherited(encoding, parent):
        values = kept
    elif not encoding.is_binary and are_indices(values, width):
        values = range(width)
    elif counts_outputs and len(values) != width:
        error = _count_error(values, outputs)
    return NumberedData(
        prepared if declared is not None else renumber(prepared, values),
        {REPORTED_CLASSES: INDICES if isinstance(values, range) else list(values)},
        [each for each in (single or error,) if each is not None],
        [] if declared is not None else _warnings(encoding, parent),
    )


def absent_outputs(prepared: Prepared) -> set[int]:
    """Return the outputs of classes that no row has."""
    return set(prepared.encoding.outputs_by_class) - _present(prepared)


def _present(prepared: Prepared) -> set[int]:
    """Return the encoded labels of all rows; a missing one is none."""
    found = [
        torch.unique(samples.targets[~samples.targets.isnan()]) for samples in prepared.splits().values()
    ]
    return set(map(int, torch.cat(found).tolist())) - {IGNORED}


def _single_class(prepared: Prepared) -> FieldError | None:
    encoding, present = prepared.encoding, _present(prepared)
    if len(present) > 1:
        return None
    (label,) = (
        label
        for label, output in zip(encoding.classes or (), encoding.outputs_by_class, strict=True)
        if output in present
    )
    detail = f"All targets have the same class, {quote_value(label)}; at least two classes are needed."
    return FieldError(LOSS, detail)


def _inherited(encoding: Encoding, parent: Encoding | None) -> Sequence[Label] | None:
    """Return the classes of another model, unless they are indices or lack a label; otherwise None."""
    if parent is None or not _keys(encoding) <= _keys(parent):
        return None
    theirs = parent.values_by_class
    return None if list(theirs) == list(parent.outputs_by_class) else theirs


def _warnings(encoding: Encoding, parent: Encoding | None) -> list[FieldError]:
    if parent is None or parent.classes is None or _keys(encoding) <= _keys(parent):
        return []
    detail = (
        f"The outputs of that job stand for {quote_labels(parent.classes)}, and these targets have other "
        "labels, so that their numbers are new."
    )
    return [FieldError(FROM_JOB, detail)]


def _keys(encoding: Encoding) -> set[tuple[bool, Label]]:
    # `true` and 1 are equal in Python, not as labels.
    return {(isinstance(value, bool), value) for value in encoding.values_by_class}


def _count_error(classes: Sequence[Label], outputs: Tensor) -> FieldError:
    got = f"[{', '.join(['B', *map(str, outputs.shape[1:])])}]"
    width, count = output_width(outputs), len(classes)
    if warning := quantity_warning(classes):
        detail = f"{warning}; as classes they need {count} outputs, and the model outputs {got}."
        return FieldError(LOSS, detail)
    detail = f"The targets have {count} classes and the model outputs {got}; it needs {count} outputs"
    if count < width:
        detail += f", or list {width} classes in `data.classes`"
    integers = all(isinstance(label, int) and not isinstance(label, bool) for label in classes)
    indices = f"; as indices of {width} outputs they must be from 0 to {width - 1}" if integers else ""
    return FieldError(LOSS, f"{detail}. The classes are {quote_labels(classes)}{indices}.")


def ignore_error(encoding: Encoding, ignored: int | None) -> FieldError | None:
    """Return why labels of text or booleans can't have an `ignore_index`; None if all is well.

    Args:
        encoding: The encoding of the data.
        ignored: The `ignore_index` of the loss; None if it has none.
    """
    if ignored in (None, IGNORED) or encoding.classes is None or encoding.ignored is not None:
        return None
    detail = (
        "`ignore_index` is an integer label, and the labels of the target are text or booleans; remove it, "
        "and leave such rows out of the data."
    )
    return FieldError(pointer_to(LOSS, "ignore_index"), detail)
