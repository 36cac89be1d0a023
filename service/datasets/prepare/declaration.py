"""What is declared about a dataset, held against what is in it: names, types, inputs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset
from service.datasets.prepare.encoding import TARGETS
from service.datasets.sources.casts import cast
from service.datasets.sources.columns import COLUMN_TYPES
from service.datasets.sources.json import SINGLE_INPUT, wrapping
from service.datasets.transforms.resolve import Columns, check_columns
from service.datasets.validation import Cells, ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.data import DataDeclaration, DatasetReference, InlineTensors, TabularDeclaration

TargetKind = Literal["classes", "values", "binary"]
"""What a loss takes: class indices; numbers; or numbers from 0 to 1, which two classes may stand for."""

DATA = "#/data"


@dataclass(frozen=True, eq=False)
class Declared:
    """A dataset with what is declared about it, as far as it is right.

    Attributes:
        dataset: its columns of the declared types.
        groups: the feature columns of each input of a table, or the inputs of tensors with none.
        targets: the target columns; none for tensors.
        dtypes: what each input holds, in their order.
        places: the pointers of columns, or of tensors and `targets`.
    """

    dataset: Dataset
    groups: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...]
    dtypes: tuple[str, ...]
    places: Mapping[str, str]

    @property
    def features(self) -> list[str]:
        """All feature columns, in order."""
        return [column for columns in self.groups.values() for column in columns]

    def types(self) -> dict[str, str]:
        """The type of each feature and target column."""
        if isinstance(self.dataset, TensorDataset):
            return {}
        table = self.dataset.table
        return {name: COLUMN_TYPES[table[name].type] for name in [*self.features, *self.targets]}

    def columns(self) -> Columns:
        """What transforms may be declared for."""
        if isinstance(self.dataset, TensorDataset):
            names = list(self.groups)
            return Columns(dict.fromkeys([*names, TARGETS], "tensor"), names, [TARGETS])
        return Columns(self.types(), self.features, self.targets)


def read_declaration(
    dataset: Dataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> Declared:
    """Hold a declaration against its dataset; what doesn't fit is noted, and left out.

    Args:
        dataset: the content that `data` declares or refers to.
        data: the data section of a job.
        errors: where it is noted.
        input_names: what the model calls its inputs; None: whatever the data calls them.
    """
    if isinstance(dataset, TabularDataset):
        return _read_table(dataset, data, errors, input_names)
    return _read_tensors(dataset, data, errors, input_names)


def _read_table(
    dataset: TabularDataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> Declared:
    if not isinstance(data, TabularDeclaration | DatasetReference):
        raise TypeError(f"{type(data).__name__} declares tensors, and the dataset is a table.")
    declared, targets = _declared_names(data, dataset, errors)
    sides = _sides(data, targets)
    order = _match_inputs(declared, input_names, pointer_to(DATA, next(iter(sides))[0]), errors)
    dtypes = _dtypes(data, order, input_names, errors)
    places = _check_names(sides, dataset.table.column_names, errors)
    groups = {name: tuple(column for column in declared[name] if column in places) for name in order}
    features = {column for columns in groups.values() for column in columns}
    known = tuple(name for name in targets if name in places and name not in features)
    return Declared(typed(dataset, data.types, errors), groups, known, dtypes, places)


def check_names(data: DataDeclaration, columns: Sequence[str], errors: ErrorCollector) -> None:
    """Note what names alone show to be wrong with the declaration of a table that can't be read as a whole.

    Args:
        data: the data section of a job.
        columns: the table's.
        errors: where it is noted.
    """
    if not isinstance(data, TabularDeclaration | DatasetReference):
        return
    sides = _sides(data, data.targets or [])
    _check_names(sides, columns, errors)
    rule = data.split.rule()
    others = {("types", name): name for name in data.types} | ({("split", rule[0]): rule[1]} if rule else {})
    for path, name in others.items():
        if name not in columns:
            errors.add(pointer_to(DATA, *path), _unknown_column(name, columns))
    named = [name for names in sides.values() for name in names]
    check_columns(data.transforms, named, errors)


def typed(dataset: TabularDataset, types: Mapping[str, str], errors: ErrorCollector) -> TabularDataset:
    """A table with columns of the declared types; cells that can't be read so are noted."""
    table = dataset.table
    for name, kind in types.items():
        place = pointer_to(DATA, "types", name)
        if name not in table.column_names:
            errors.add(place, _unknown_column(name, table.column_names))
            continue
        before = errors.count
        column = cast(table[name], kind, Cells(name, place, errors, range(dataset.rows)))
        if errors.count > before:  # what can't be read is told, and not missing as well
            column = column.fill_null(pa.scalar(0).cast(column.type))
        table = table.set_column(table.column_names.index(name), name, column)
    return TabularDataset(table)


def _unknown_column(name: str, known: Sequence[str], meant: Sequence[str] | None = None) -> str:
    """What is said of a name that no column has; it may be one of `meant`, by default of all, misspelt."""
    hint = did_you_mean(name, known if meant is None else meant) or f". The columns are {', '.join(known)}."
    return f"There is no column `{name}`{hint}"


def _declared_names(
    data: TabularDeclaration | DatasetReference, dataset: TabularDataset, errors: ErrorCollector
) -> tuple[Mapping[str, Sequence[str]], Sequence[str]]:
    """The feature columns of each input, and the targets, as declared; a reference may have left them out."""
    known = ", ".join(dataset.table.column_names)
    if data.features is None and data.feature_groups is None:
        errors.add(DATA, f"`features` is required with a table; its columns are {known}.")
    elif data.features is not None and data.feature_groups is not None:
        errors.add(DATA, "Give `features` or `feature_groups`, not both.")
    if data.targets is None:
        errors.add(DATA, f"`targets` is required with a table; its columns are {known}.")
    return data.feature_groups or {SINGLE_INPUT: data.features or []}, data.targets or []


def _match_inputs(
    found: Collection[str], wanted: Sequence[str] | None, pointer: str, errors: ErrorCollector
) -> list[str]:
    """The data's names for the model's inputs, in the model's order; one input may have any name."""
    if wanted is None or len(found) == len(wanted) == 1:
        return list(found)
    if set(found) == set(wanted):
        return list(wanted)
    takes, has = ", ".join(wanted), ", ".join(found)
    if len(wanted) == 1:
        errors.add(pointer, f"The architecture takes one input, and these are {len(found)}: {has}.")
    elif len(found) == 1:
        detail = f"The architecture takes {takes}: give `feature_groups`, or `inputs` by these names."
        errors.add(pointer, detail)
    else:
        errors.add(pointer, f"The architecture takes {takes}; these are called {has}.")
    return list(found)


def _dtypes(
    data: DataDeclaration, names: Sequence[str], wanted: Sequence[str] | None, errors: ErrorCollector
) -> tuple[str, ...]:
    """The declared type of each input; a single one may be called what the architecture calls it."""
    declared = dict(data.dtypes)
    if wanted is not None and len(names) == len(wanted) == 1 and wanted[0] in declared:
        declared[names[0]] = declared.pop(wanted[0])
    for name in declared:
        if name not in names:
            hint = did_you_mean(name, names) or f"; there are {', '.join(names)}."
            errors.add(pointer_to(DATA, "dtypes", name), f"There is no input `{name}`{hint}")
    return tuple(declared.get(name, "float32") for name in names)


def _sides(
    data: TabularDeclaration | DatasetReference, targets: Sequence[str]
) -> dict[tuple[str, ...], Sequence[str]]:
    """The declared names by the place where they are declared."""
    if data.feature_groups is None:
        return {("features",): data.features or [], ("targets",): targets}
    groups = data.feature_groups.items()
    return {**{("feature_groups", name): columns for name, columns in groups}, ("targets",): targets}


def _check_names(
    sides: Mapping[tuple[str, ...], Sequence[str]], known: Sequence[str], errors: ErrorCollector
) -> dict[str, str]:
    """The pointers of the names that are columns; unknown names and names used twice are noted."""
    places: dict[str, str] = {}
    named = {name for names in sides.values() for name in names}
    for side, names in sides.items():
        for position, name in enumerate(names):
            place = pointer_to(DATA, *side, position)
            if name not in known:
                errors.add(place, _unknown_column(name, known, [each for each in known if each not in named]))
            elif name in places:
                errors.add(place, f"`{name}` is named already, at {places[name]}.")
            else:
                places[name] = place
    return places


def _read_tensors(
    dataset: TensorDataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> Declared:
    for side in ("features", "feature_groups", "targets"):
        if isinstance(data, DatasetReference) and getattr(data, side) is not None:
            errors.add(pointer_to(DATA, side), f"Tensor data has no columns to name: leave `{side}` out.")
    for name in data.types:
        detail = "Tensor data has no columns: leave `types` out, or say in `dtypes` what an input holds."
        errors.add(pointer_to(DATA, "types", name), detail)
    if dataset.targets is None:
        errors.fail(DATA, "The dataset has inputs only: there are no targets to train on.")
    container = pointer_to(DATA, "inputs") if isinstance(data, InlineTensors) else DATA
    order = _match_inputs(dataset.inputs, input_names, container, errors)
    dtypes = _dtypes(data, order, input_names, errors)
    return Declared(dataset, dict.fromkeys(order, ()), (), dtypes, _tensor_places(dataset, data))


def _tensor_places(dataset: TensorDataset, data: DataDeclaration) -> Mapping[str, str]:
    """The pointers of the inputs and of `targets`; of a dataset sent before, that of the whole section."""
    if not isinstance(data, InlineTensors):
        return dict.fromkeys([*dataset.inputs, TARGETS], DATA)
    inputs = pointer_to(DATA, "inputs")
    named = isinstance(data.inputs, dict)
    places = {name: pointer_to(inputs, name) if named else inputs for name in dataset.inputs}
    return places | {TARGETS: pointer_to(DATA, TARGETS)}


def check_class_tensor(targets: Tensor, pointer: str, errors: ErrorCollector) -> None:
    """Note what keeps a tensor from holding classes."""
    if targets.dtype.kind == "f":
        errors.add(pointer, "Classes are integers; found numbers with a decimal point.")
    elif targets.shape[1:] == (1,):
        errors.add(pointer, f"Classes are [B], not {list(targets.shape)}: leave the inner brackets out.")


def check_value_tensor(targets: Tensor, pointer: str, errors: ErrorCollector) -> None:
    """Note what keeps a tensor from holding values."""
    if targets.ndim == 1:
        errors.add(pointer, f"Targets of this loss are [B, k]: {wrapping(np.asarray(targets[:3]))}")
