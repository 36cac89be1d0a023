"""The encoding that a dataset and what is declared about it come to, or all that is wrong with them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import TabularDataset, TensorDataset
from service.datasets.prepare.declaration import (
    DATA,
    Declared,
    TargetKind,
    check_class_tensor,
    check_value_tensor,
)
from service.datasets.prepare.encode import LARGEST_WHOLE, tensor_values, values_of
from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.rows import Rows, rows_of
from service.datasets.sources.columns import DATETIME, NUMBER, TEXT, find_strays
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import FittedTransform, Values
from service.datasets.transforms.kinds import KINDS
from service.datasets.transforms.resolve import Step
from service.datasets.validation import Cells, ErrorCollector, counted, shown
from service.errors import pointer_to
from service.specs.transforms import Label


def check_kinds(
    declared: Declared, target_kind: TargetKind, steps: Sequence[Step], errors: ErrorCollector
) -> None:
    """Note features that don't come to numbers, and targets that are not of the kind the loss takes."""
    if isinstance(declared.dataset, TensorDataset):
        targets = declared.dataset.targets
        if targets is not None:
            _TENSOR_TARGET_CHECKS[target_kind](targets, declared.places[TARGETS], errors)
        return
    kinds = declared.types()
    made_numbers = {
        step.column for step in steps if KINDS[step.transform.type].gives and kinds[step.column] != "datetime"
    }
    for name in declared.features:
        if name not in made_numbers:
            line = f'{{"type": "one_hot", "columns": ["{name}"]}}'
            remedy = (
                f"the model takes numbers: add {line} to `data.transforms` for a column of 0 and 1 for each "
                "category, or `ordinal` for its index."
            )
            _check_numbers(declared.dataset, name, declared.places[name], remedy, errors)
    if has_classes(declared, target_kind):
        _check_class_columns(declared, steps, errors)
        return
    remedy = "this loss takes numbers: for classes take `CrossEntropyLoss`, with an output for each of them."
    for name in declared.targets:
        _check_numbers(declared.dataset, name, declared.places[name], remedy, errors)


def _check_class_columns(declared: Declared, steps: Sequence[Step], errors: ErrorCollector) -> None:
    if len(declared.targets) > 1:
        errors.add(pointer_to(DATA, TARGETS), f"Classes are one column; found {len(declared.targets)}.")
    for name in declared.targets:
        if declared.types()[name] == "datetime":
            errors.add(declared.places[name], f"`{name}` is a datetime, which is no class.")
        elif not _is_exact(declared, name):
            detail = (
                f"`{name}` holds whole numbers beyond 2**53, of which neighbours are one number: send such "
                f'classes as text (of a file, `"types": {{"{name}": "categorical"}}` reads them as such).'
            )
            errors.add(declared.places[name], detail)
    for step in steps:
        if step.column in declared.targets and KINDS[step.transform.type].fitted is not None:
            errors.add(step.pointer, f"`{step.column}` holds classes, which are not transformed.")


def _is_exact(declared: Declared, name: str) -> bool:
    """Whether a column of numbers holds each as it was sent."""
    assert isinstance(declared.dataset, TabularDataset)
    column = declared.dataset.table[name]
    if column.type != NUMBER:
        return True
    ends = pc.min_max(column).as_py().values()
    return all(end is None or abs(end) < LARGEST_WHOLE for end in ends)


def has_classes(declared: Declared, target_kind: TargetKind) -> bool:
    """Whether the targets are labels: always for `classes`, for `binary` where they are one column of text
    or of booleans."""
    if target_kind == "binary" and len(declared.targets) == 1:
        return declared.types()[declared.targets[0]] in ("categorical", "boolean")
    return target_kind == "classes"


_TENSOR_TARGET_CHECKS: Mapping[TargetKind, Callable[[Any, str, ErrorCollector], None]] = {
    "classes": check_class_tensor,
    "values": check_value_tensor,
    "binary": check_value_tensor,
}


def _check_numbers(
    dataset: TabularDataset, name: str, pointer: str, remedy_of_text: str, errors: ErrorCollector
) -> None:
    """Note what a column is, where it is neither numbers nor booleans."""
    column = dataset.table[name]
    if column.type == DATETIME:
        detail = (
            f"`{name}` is a datetime, and the model takes numbers: name it in `split` only, or send what "
            "counts of it (an hour, days since a date) as numbers."
        )
        errors.add(pointer, detail)
    elif column.type == TEXT and (strays := find_strays(column, column)):
        rows = torch.from_numpy(strays.rows)
        why = f"which keeps {counted(len(column), 'row')} of {strays.noun}s from being read as such"
        cells = Cells(name, pointer, errors, rows)
        cells.note(
            torch.ones(len(rows), dtype=torch.bool),
            lambda i: f"is {shown(column[int(rows[i])].as_py())}, {why}",
        )
    elif column.type == TEXT:
        examples = ", ".join(map(shown, column.drop_null().unique().slice(0, 3).to_pylist()))
        errors.add(pointer, f"`{name}` is text ({examples}, …), and {remedy_of_text}")


def fit_encoding(
    declared: Declared,
    target_kind: TargetKind,
    steps: Sequence[Step],
    kept: Rows,
    train: torch.Tensor,
    errors: ErrorCollector,
) -> Encoding:
    """Fit the transforms on the training rows, and find the classes.

    Args:
        declared: what `check_kinds` and the other checks found nothing against.
        target_kind: what the loss takes.
        steps: of `resolve`.
        kept: the rows of all parts: their labels are the classes.
        train: int64, the rows that transforms are fitted on.
        errors: where transforms that can't be fitted are noted.
    """
    transforms = pipeline.fit(steps, lambda column: _rows_of(declared, column, train), errors)
    classes = _classes(declared, kept) if has_classes(declared, target_kind) else None
    if target_kind == "binary" and classes is not None and len(classes) != 2:
        (name,) = declared.targets
        found = f"`{name}` holds {', '.join(map(shown, classes[:10]))}"
        errors.add(
            declared.places[name], f"{found}: this loss takes two classes, and these are {len(classes)}."
        )
    return Encoding(
        input_names=tuple(declared.groups),
        sample_shapes=_sample_shapes(declared, transforms),
        target_shape=_target_shape(declared, target_kind),
        groups={name: columns for name, columns in declared.groups.items() if columns},
        targets=declared.targets,
        types=declared.types(),  # type: ignore[arg-type]
        transforms=tuple(transforms),
        classes=classes,
        dtypes=declared.dtypes,
    )


def check_targets(
    declared: Declared,
    encoding: Encoding,
    target_kind: TargetKind,
    targets: torch.Tensor,
    errors: ErrorCollector,
    place: str | None = None,
) -> None:
    """Note encoded targets that a loss of kind `binary` can't be computed of, or has nothing to tell apart.

    Args:
        targets: float32 [B, …], of all rows.
        place: the pointer of the dataset that they are of, where it is one of its own.
    """
    if target_kind != "binary" or encoding.is_binary:
        return
    tensors = [(TARGETS, targets)]
    if encoding.targets:
        tensors = list(zip(encoding.targets, targets.unbind(dim=1), strict=True))
    for name, values in tensors:
        low, high = values.min().item(), values.max().item()
        if low < 0 or high > 1:
            detail = (
                f"`{name}` goes from {low:g} to {high:g}, and this loss takes targets from 0 to 1: take "
                "`CrossEntropyLoss` for classes, or `MSELoss` for numbers."
            )
            errors.add(place or declared.places[name], detail)
    if place is None and not errors.count and (targets == targets[0]).all():
        value = ", ".join(f"{each:g}" for each in targets[0].flatten()[:10].tolist())
        first = declared.places[tensors[0][0]]
        errors.add(first, f"All targets are {value}: there is nothing to tell apart.")


def _rows_of(declared: Declared, name: str, rows: torch.Tensor) -> Values:
    """Some rows of a column, or of a tensor."""
    if isinstance(declared.dataset, TabularDataset):
        return values_of(rows_of(declared.dataset.table[name], rows))
    return tensor_values(declared.dataset, name, rows).double()


def _sample_shapes(declared: Declared, transforms: Sequence[FittedTransform]) -> tuple[tuple[int, ...], ...]:
    if isinstance(declared.dataset, TensorDataset):
        return tuple(tuple(declared.dataset.inputs[name].shape[1:]) for name in declared.groups)
    widths = {
        name: len(pipeline.titles(name, [each for each in transforms if each.column == name]))
        for name in declared.features
    }
    return tuple((sum(widths[column] for column in columns),) for columns in declared.groups.values())


def _target_shape(declared: Declared, target_kind: TargetKind) -> tuple[int, ...]:
    if isinstance(declared.dataset, TensorDataset):
        assert declared.dataset.targets is not None
        return tuple(declared.dataset.targets.shape[1:])
    return () if target_kind == "classes" else (len(declared.targets),)


def _classes(declared: Declared, kept: Rows) -> tuple[Label, ...]:
    """The distinct labels of the rows that are kept, ascending; whole numbers as integers."""
    if isinstance(declared.dataset, TensorDataset):
        return tuple(np.unique(np.asarray(declared.dataset.targets)).tolist())
    column = declared.dataset.table[declared.targets[0]]
    if pa.types.is_boolean(column.type):
        return (False, True)
    values = rows_of(column, kept).unique().to_pylist()
    if column.type == NUMBER and all(map(float.is_integer, values)):
        values = list(map(int, values))
    return tuple(sorted(set(values)))
