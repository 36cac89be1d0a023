"""The encoding that a dataset and what is declared about it come to, or all that is wrong with them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from service.datasets.columns import COLUMN_TYPES, NUMBER
from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset
from service.datasets.encode import NamePlace, check_complete, check_numbers, numbers_of
from service.datasets.encoding import Encoding, Label
from service.datasets.json_reader import SINGLE_INPUT, wrapping
from service.datasets.mistakes import Mistakes
from service.datasets.split import split_rows
from service.datasets.transforms import Step, fit, resolve
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.data import DataDeclaration, DatasetReference, InlineTensors, TabularDeclaration

TargetKind = Literal["classes", "values"]

_DATA = "#/data"


def fit_encoding(
    dataset: Dataset,
    data: DataDeclaration,
    target_kind: TargetKind,
    mistakes: Mistakes,
    input_names: Sequence[str] | None = None,
) -> tuple[Encoding, NamePlace]:
    """Check a declaration against its dataset, and fit the transforms on the training rows.

    Args:
        dataset: the content that `data` declares or refers to.
        data: the data section of a job.
        target_kind: `classes` for losses that take class indices, else `values`.
        mistakes: what was noted before about the same section; told together with what is found here.
        input_names: what the model calls its inputs; None: whatever the data calls them.

    Returns:
        The encoding, and where the request names each column or tensor.

    Raises:
        InvalidRequest: if `mistakes` has any in the end.
    """
    if isinstance(dataset, TabularDataset):
        return _fit_table(dataset, data, target_kind, mistakes, input_names)
    return _fit_tensors(dataset, data, target_kind, mistakes, input_names)


def _fit_table(
    dataset: TabularDataset,
    data: DataDeclaration,
    target_kind: TargetKind,
    mistakes: Mistakes,
    input_names: Sequence[str] | None,
) -> tuple[Encoding, NamePlace]:
    groups, targets = _declared_names(data, dataset, mistakes)
    sides = _sides(data, targets)
    order = _match_inputs(groups, input_names, pointer_to(_DATA, next(iter(sides))[0]), mistakes)
    dtypes = _dtypes(data, order, input_names, mistakes)
    places = _check_names(sides, dataset.table.column_names, mistakes)
    groups = {name: [column for column in groups[name] if column in places] for name in order}
    features = [column for columns in groups.values() for column in columns]
    targets = [name for name in targets if name in places and name not in features]
    for name in features:
        check_numbers(name, dataset.table[name], places[name], mistakes)
    _check_targets(targets, dataset, target_kind, places, mistakes)
    steps = _resolve(data, dataset, features, targets, target_kind, mistakes)
    mistakes.check()  # from here on all names are known and all columns are complete

    train = split_rows(data.split, dataset.rows).train
    columns = numbers_of({step.column for step in steps}, dataset, places.__getitem__, mistakes)
    transforms = fit(steps, {name: values[train] for name, values in columns.items()}, mistakes)
    mistakes.check()
    encoding = Encoding(
        input_names=tuple(groups),
        sample_shapes=tuple((len(columns),) for columns in groups.values()),
        target_shape=() if target_kind == "classes" else (len(targets),),
        features=tuple(features),
        targets=tuple(targets),
        transforms=tuple(transforms),
        classes=_labels(dataset.table[targets[0]]) if target_kind == "classes" else None,
        dtypes=dtypes,
    )
    return encoding, places.__getitem__


def _declared_names(
    data: DataDeclaration, dataset: TabularDataset, mistakes: Mistakes
) -> tuple[Mapping[str, Sequence[str]], Sequence[str]]:
    """The feature columns of each input, and the targets, as declared; a reference may have left them out."""
    if not isinstance(data, TabularDeclaration | DatasetReference):
        raise TypeError(f"{type(data).__name__} declares tensors, and the dataset is a table.")
    known = ", ".join(dataset.table.column_names)
    if data.features is None and data.feature_groups is None:
        mistakes.add(_DATA, f"`features` is required with a table; its columns are {known}.")
    elif data.features is not None and data.feature_groups is not None:
        mistakes.add(_DATA, "Give `features` or `feature_groups`, not both.")
    if data.targets is None:
        mistakes.add(_DATA, f"`targets` is required with a table; its columns are {known}.")
    return data.feature_groups or {SINGLE_INPUT: data.features or []}, data.targets or []


def _match_inputs(
    found: Collection[str], wanted: Sequence[str] | None, pointer: str, mistakes: Mistakes
) -> list[str]:
    """The data's names for the model's inputs, in the model's order; one input may have any name."""
    if wanted is None or len(found) == len(wanted) == 1:
        return list(found)
    if set(found) == set(wanted):
        return list(wanted)
    takes, has = ", ".join(wanted), ", ".join(found)
    if len(wanted) == 1:
        mistakes.add(pointer, f"The architecture takes one input, and these are {len(found)}: {has}.")
    elif len(found) == 1:
        detail = f"The architecture takes {takes}: give `feature_groups`, or `inputs` by these names."
        mistakes.add(pointer, detail)
    else:
        mistakes.add(pointer, f"The architecture takes {takes}; these are called {has}.")
    return list(found)


def _dtypes(
    data: DataDeclaration, names: Sequence[str], wanted: Sequence[str] | None, mistakes: Mistakes
) -> tuple[str, ...]:
    """The declared type of each input; a single one may be called what the architecture calls it."""
    declared = dict(data.dtypes)
    if wanted is not None and len(names) == len(wanted) == 1 and wanted[0] in declared:
        declared[names[0]] = declared.pop(wanted[0])
    for name in declared:
        if name not in names:
            hint = did_you_mean(name, names) or f"; there are {', '.join(names)}."
            mistakes.add(pointer_to(_DATA, "dtypes", name), f"There is no input `{name}`{hint}")
    return tuple(declared.get(name, "float32") for name in names)


def _sides(data: DataDeclaration, targets: Sequence[str]) -> dict[tuple[str, ...], Sequence[str]]:
    """The declared names by the place where they are declared."""
    if not isinstance(data, TabularDeclaration | DatasetReference) or data.feature_groups is None:
        return {("features",): getattr(data, "features", None) or [], ("targets",): targets}
    sides: dict[tuple[str, ...], Sequence[str]] = {("targets",): targets}
    groups = data.feature_groups.items()
    return {**{("feature_groups", name): columns for name, columns in groups}, **sides}


def _check_names(
    sides: Mapping[tuple[str, ...], Sequence[str]], known: Sequence[str], mistakes: Mistakes
) -> dict[str, str]:
    """The pointers of the names that are columns; unknown names and names used twice are noted."""
    places: dict[str, str] = {}
    for side, names in sides.items():
        for position, name in enumerate(names):
            place = pointer_to(_DATA, *side, position)
            if name not in known:
                hint = did_you_mean(name, known) or f". The columns are {', '.join(known)}."
                mistakes.add(place, f"There is no column `{name}`{hint}")
            elif name in places:
                mistakes.add(place, f"`{name}` is named already, at {places[name]}.")
            else:
                places[name] = place
    return places


def _check_targets(
    targets: Sequence[str],
    dataset: TabularDataset,
    target_kind: TargetKind,
    places: Mapping[str, str],
    mistakes: Mistakes,
) -> None:
    check = check_numbers if target_kind == "values" else check_complete
    for name in targets:
        check(name, dataset.table[name], places[name], mistakes)
    if target_kind == "classes" and len(targets) > 1:
        mistakes.add(pointer_to(_DATA, "targets"), f"Classes are one column; found {len(targets)}.")


def _resolve(
    data: DataDeclaration,
    dataset: TabularDataset,
    features: Sequence[str],
    targets: Sequence[str],
    target_kind: TargetKind,
    mistakes: Mistakes,
) -> list[Step]:
    types = {name: COLUMN_TYPES[dataset.table[name].type] for name in [*features, *targets]}
    steps = resolve(data.transforms, types, features, mistakes)
    for step in steps:
        if target_kind == "classes" and step.column in targets:
            mistakes.add(step.pointer, f"`{step.column}` holds classes, which are not transformed.")
    return steps


def _labels(column: pa.ChunkedArray) -> tuple[Label, ...]:
    """The distinct values of a column, ascending; whole numbers as integers."""
    values = column.unique().to_pylist()
    if column.type == NUMBER and all(map(float.is_integer, values)):
        values = list(map(int, values))
    return tuple(sorted(set(values)))


def _fit_tensors(
    dataset: TensorDataset,
    data: DataDeclaration,
    target_kind: TargetKind,
    mistakes: Mistakes,
    input_names: Sequence[str] | None,
) -> tuple[Encoding, NamePlace]:
    for side in ("features", "feature_groups", "targets"):
        if isinstance(data, DatasetReference) and getattr(data, side) is not None:
            mistakes.add(pointer_to(_DATA, side), f"Tensor data has no columns to name: leave `{side}` out.")
    for number in range(len(data.transforms)):
        detail = "Tensor data has no columns to transform: send `columns`, or values that need no transform."
        mistakes.add(pointer_to(_DATA, "transforms", number), detail)
    if dataset.targets is None:
        mistakes.fail(_DATA, "The dataset has inputs only: there are no targets to train on.")
    places = _tensor_places(dataset, data)
    _TENSOR_TARGET_CHECKS[target_kind](dataset.targets, places["targets"], mistakes)
    container = pointer_to(_DATA, "inputs") if isinstance(data, InlineTensors) else _DATA
    order = _match_inputs(dataset.inputs, input_names, container, mistakes)
    dtypes = _dtypes(data, order, input_names, mistakes)
    mistakes.check()
    encoding = Encoding(
        input_names=tuple(order),
        sample_shapes=tuple(dataset.inputs[name].shape[1:] for name in order),
        target_shape=dataset.targets.shape[1:],
        classes=tuple(np.unique(dataset.targets).tolist()) if target_kind == "classes" else None,
        dtypes=dtypes,
    )
    return encoding, places.__getitem__


def _tensor_places(dataset: TensorDataset, data: DataDeclaration) -> Mapping[str, str]:
    """The pointers of the inputs and of `targets`; of a dataset sent before, that of the whole section."""
    if not isinstance(data, InlineTensors):
        return dict.fromkeys([*dataset.inputs, "targets"], _DATA)
    inputs = pointer_to(_DATA, "inputs")
    named = isinstance(data.inputs, dict)
    places = {name: pointer_to(inputs, name) if named else inputs for name in dataset.inputs}
    return places | {"targets": pointer_to(_DATA, "targets")}


def _check_class_tensor(targets: Tensor, pointer: str, mistakes: Mistakes) -> None:
    if targets.dtype == np.float64:
        mistakes.add(pointer, "Classes are integers; found numbers with a decimal point.")
    elif targets.shape[1:] == (1,):
        mistakes.add(pointer, f"Classes are [B], not {list(targets.shape)}: leave the inner brackets out.")


def _check_value_tensor(targets: Tensor, pointer: str, mistakes: Mistakes) -> None:
    if targets.ndim == 1:
        mistakes.add(pointer, f"Targets of this loss are [B, k]: {wrapping(targets)}")


_TENSOR_TARGET_CHECKS: Mapping[TargetKind, Callable[[Tensor, str, Mistakes], None]] = {
    "classes": _check_class_tensor,
    "values": _check_value_tensor,
}
