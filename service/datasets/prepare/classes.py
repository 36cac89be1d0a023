"""Classes of the targets: their labels, and the number of each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.prepare.declared_data import DATA, DeclaredData, TargetType
from service.datasets.prepare.encoding import IGNORED, TARGETS, Encoding
from service.datasets.prepare.inputs import MAX_EXACT_INTEGER
from service.datasets.rows import Rows, select_rows
from service.datasets.samples import Samples
from service.datasets.sources.columns import INTEGER, NUMBER, TEXT
from service.datasets.transforms.registry import TRANSFORM_TYPES
from service.datasets.transforms.resolve import Step
from service.datasets.validation import ErrorCollector, quote_value
from service.errors import pointer_to
from service.specs.split import SplitName
from service.specs.transforms import Label

CLASSES = pointer_to(DATA, "classes")
_MAX_QUOTED = 10


def has_classes(declared: DeclaredData, target_type: TargetType) -> bool:
    """Return whether the targets are labels of classes.

    They are for `classes`; for `binary`, if they are one column of text or booleans, or if the classes
    are listed.
    """
    if target_type == "binary":
        single = len(declared.targets) == 1
        return declared.classes is not None or (single and bool(label_columns(declared, target_type)))
    return target_type == "classes"


def label_columns(declared: DeclaredData, target_type: TargetType) -> list[str]:
    """Return the target columns whose cells are labels; for `binary` those of text and booleans."""
    if target_type == "values":
        return []
    if target_type == "classes" or declared.classes is not None:
        return [*declared.targets] if isinstance(declared.dataset, TabularDataset) else [TARGETS]
    types = declared.types()
    return [name for name in declared.targets if types[name] in ("categorical", "boolean")]


def check_classes(
    declared: DeclaredData, target_type: TargetType, steps: Sequence[Step], errors: ErrorCollector
) -> None:
    """Check the columns of labels and the list of classes, without the labels in the rows."""
    if has_classes(declared, target_type) and len(declared.targets) > 1:
        errors.add(pointer_to(DATA, TARGETS), f"Classes must be one column; found {len(declared.targets)}.")
    labels, types = label_columns(declared, target_type), declared.types()
    for name in labels:
        if types.get(name) == "datetime":
            errors.add(declared.pointers[name], f"`{name}` is a datetime, which cannot be a class.")
        else:
            check_exact(declared, name, errors)
    for step in steps:
        if step.column in labels and TRANSFORM_TYPES[step.transform.type].fitted is not None:
            detail = f"`{step.column}` holds classes, which cannot be transformed; remove the transform."
            errors.add(step.pointer, detail)
    if declared.classes is not None and (error := _list_error(declared, target_type)):
        errors.add(CLASSES, error)


def _list_error(declared: DeclaredData, target_type: TargetType) -> str | None:
    """Return why the list of classes does not fit the loss or the target; None if it does."""
    listed, dataset = declared.classes or (), declared.dataset
    if target_type == "values":
        return "This loss has no classes; remove `classes`, or use `CrossEntropyLoss`."
    if target_type == "binary" and len(listed) != 2:
        return f"This loss needs exactly two classes; `classes` lists {len(listed)}."
    if isinstance(dataset, TabularDataset):
        return _type_error(declared, declared.targets[0]) if len(declared.targets) == 1 else None
    assert dataset.targets is not None
    if target_type == "binary" and dataset.targets.shape[1:] != (1,):
        return f"`classes` needs targets [B, 1]; they are {list(dataset.targets.shape)}."
    return _type_error(declared, TARGETS)


def _type_error(declared: DeclaredData, name: str) -> str | None:
    """Return why the listed classes cannot be values of a target; None if they can."""
    listed = declared.classes or ()
    is_text = all(isinstance(label, str) for label in listed)
    if _is_numeric(declared.dataset, name):
        are_numbers = not any(isinstance(label, str | bool) for label in listed)
        expected = None if is_text or are_numbers else "numbers; list its values, or text that names them"
    elif isinstance(declared.dataset, TabularDataset) and declared.dataset.table[name].type == TEXT:
        expected = None if is_text else "text"
    else:
        are_booleans = all(isinstance(label, bool) for label in listed)
        expected = None if are_booleans else "`false` and `true`"
    return None if expected is None else f"`{name}` holds {expected}; `classes` lists other values."


def _is_numeric(dataset: Dataset, name: str) -> bool:
    if isinstance(dataset, TensorDataset):
        return dataset.targets is not None and dataset.targets.dtype.kind != "b"
    return dataset.table[name].type in (INTEGER, NUMBER)


def check_exact(declared: DeclaredData, name: str, errors: ErrorCollector) -> None:
    """Check that float64 represents all integers of a column exactly, so that different ones stay so."""
    if isinstance(declared.dataset, TensorDataset):
        return
    column = declared.dataset.table[name]
    if column.type not in (INTEGER, NUMBER):
        return
    ends = pc.min_max(column).as_py().values()
    if any(end is not None and abs(end) >= MAX_EXACT_INTEGER for end in ends):
        detail = (
            f"`{name}` holds integers beyond 2**53, which float64 does not represent exactly; read them as "
            f'text with `"types": {{"{name}": "categorical"}}`.'
        )
        errors.add(declared.pointers[name], detail)


def fit_classes(
    encoding: Encoding,
    declared: DeclaredData,
    target_type: TargetType,
    rows: Sequence[tuple[Dataset, Rows]],
    ignored: int | None,
    errors: ErrorCollector,
) -> Encoding:
    """Add the classes to an encoding: those of `data.classes`, else all labels in sorted order.

    Args:
        encoding: The encoding without classes.
        declared: A dataset and its declaration, without errors of `check_classes`.
        target_type: Type of targets that the loss needs.
        rows: The rows of all splits: those of the dataset, then those of whole splits. Text must occur in the
            first ones; a label that only another dataset has is probably misspelt.
        ignored: The label that the loss ignores; None for a loss that ignores none.
        errors: Receives an error for a number of labels that the loss does not accept.
    """
    if not has_classes(declared, target_type):
        pairs = {}
        for name in label_columns(declared, target_type):
            found = _distinct(rows[:1], name)
            _check_two(found, name, "each column of this loss needs exactly two labels", declared, errors)
            pairs[name] = (found[0], found[-1])
        return replace(encoding, column_classes=pairs)
    name = declared.targets[0] if declared.targets else TARGETS
    numeric = _is_numeric(declared.dataset, name)
    encoding = replace(encoding, ignored=ignored if numeric else None)
    if declared.classes is None:
        found = _distinct(rows if numeric else rows[:1], name)
        if target_type == "binary":
            _check_two(found, name, "this loss needs exactly two classes", declared, errors)
        # The ignored label needs no output: the others are numbered without it.
        return with_class_values(encoding, [label for label in found if label != encoding.ignored])
    if numeric and isinstance(declared.classes[0], str):
        return with_class_values(encoding, range(len(declared.classes)), declared.classes)
    values = [int(label) if _is_integral(label) else label for label in declared.classes]
    if encoding.ignored in values and numeric:
        detail = (
            f"The loss ignores {ignored} (`ignore_index`), so that it is no class; leave it out, or "
            "set another `ignore_index`."
        )
        errors.add(CLASSES, detail)
    return replace(encoding, classes=tuple(values))


def with_class_values(encoding: Encoding, values: Sequence[Label], names: Sequence[Label] = ()) -> Encoding:
    """Add classes by the value of the target that each output stands for, without the ignored one.

    Args:
        encoding: The encoding, whose `ignored` is set.
        values: For each output, its value of the target.
        names: For each output, the name of its class, unless it is the value.
    """
    kept = [n for n, value in enumerate(values) if value != encoding.ignored]
    return replace(
        encoding,
        classes=tuple(names[n] if names else values[n] for n in kept),
        class_values=tuple(values[n] for n in kept) if names else None,
        class_outputs=tuple(kept) if len(kept) < len(values) else None,
    )


def _check_two(
    labels: Sequence[Label], name: str, need: str, declared: DeclaredData, errors: ErrorCollector
) -> None:
    if len(labels) != 2:
        errors.add(
            declared.pointers[name], f"`{name}` holds {quote_labels(labels)}; {need}, not {len(labels)}."
        )


def quote_labels(labels: Sequence[Label]) -> str:
    """Return labels as error messages quote them; the first ten."""
    more = ", …" if len(labels) > _MAX_QUOTED else ""
    return ", ".join(map(quote_value, labels[:_MAX_QUOTED])) + more


def _distinct(rows: Sequence[tuple[Dataset, Rows]], name: str) -> tuple[Label, ...]:
    """Return the distinct labels of some rows, ascending; integral numbers as int."""
    found: set[Label] = set()
    for dataset, chosen in rows:
        if isinstance(dataset, TensorDataset):
            found.update(np.unique(np.asarray(dataset.targets)).tolist())
            continue
        column = dataset.table[name]
        if pa.types.is_boolean(column.type):
            return (False, True)
        found.update(select_rows(column, chosen).unique().drop_null().to_pylist())
    if all(map(_is_integral, found)):
        found = set(map(int, found))
    return tuple(sorted(found))  # labels of a column have one type


def _is_integral(label: Label) -> bool:
    return isinstance(label, float | int) and not isinstance(label, bool) and float(label).is_integer()


def are_indices(labels: Sequence[Label], outputs: int) -> bool:
    """Return whether all labels are indices of a model's outputs: integers from 0 to `outputs` − 1."""
    return all(
        isinstance(label, int) and not isinstance(label, bool) and 0 <= label < outputs for label in labels
    )


def renumbered(samples: Samples, encoding: Encoding, other: Encoding) -> Samples:
    """Convert encoded targets to the numbers of another encoding, which has all classes of the first.

    Args:
        samples: Samples with the class numbers of `encoding`.
        encoding: Their encoding.
        other: The encoding to convert to.
    """
    numbers = dict(zip(other.values_by_class, other.outputs_by_class, strict=True))
    table = torch.tensor([numbers[label] for label in encoding.values_by_class])  # [classes]
    indices = samples.targets.long()
    targets = torch.where(indices == IGNORED, IGNORED, table[indices.clamp(min=0)])
    return replace(samples, targets=targets.to(samples.targets.dtype))


def check_counted(
    encoding: Encoding, splits: Mapping[SplitName, Samples], pointer: str, errors: ErrorCollector
) -> None:
    """Check that each split has rows with a class: without them its mean loss has no value."""
    for name, samples in splits.items():
        targets = samples.targets if samples.order is None else samples.targets[samples.order]
        if encoding.ignored is not None and (targets == IGNORED).all():
            rows = f"the {name} row" if samples.rows == 1 else f"all {samples.rows} {name} rows"
            detail = f"The target of {rows} is {encoding.ignored}, which is no class (`ignore_index`)."
            errors.add(pointer, detail)
