"""Check of a data section against its dataset: column names, types, inputs and tensor shapes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset
from service.datasets.prepare.encoding import TARGETS, WEIGHTS
from service.datasets.prepare.windows import SeriesWindow
from service.datasets.sources.casts import as_type, cast
from service.datasets.sources.cell_texts import null_gaps
from service.datasets.sources.columns import COLUMN_TYPES, DATETIME, INTEGER, NUMBER, TEXT
from service.datasets.sources.json import SINGLE_INPUT, wrapping_remedy
from service.datasets.sources.text_columns import infer_kept_type
from service.datasets.transforms.resolve import Columns, check_columns
from service.datasets.validation import Cells, ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.data import DataDeclaration, DatasetReference, InlineTensors, TabularDeclaration
from service.specs.transforms import Label
from service.specs.upload import ReadOptions

TargetType = Literal["classes", "values", "binary"]
"""Targets that a loss needs: class indices; numbers; or numbers from 0 to 1, which may encode two classes."""

DATA = "#/data"
MISSING_TARGETS = "#/data/missing_targets"
_WEIGHTS = "#/data/weights"
# Fields of columns that are neither features nor targets, and what to do about a column that is one.
_REMEDIES = {
    "weights": "weights are neither features nor targets, so use another column",
    "id": "an id is neither a feature, a target nor a weight, so remove it here or there",
}


@dataclass(frozen=True, eq=False)
class DeclaredData:
    """A dataset with the valid part of its declaration.

    Attributes:
        dataset: The dataset; its columns have the declared types.
        groups: Feature columns of each input of a table; an empty tuple for each input of tensor data.
        targets: Target columns; empty for tensor data.
        dtypes: `float32` or `int64` for each input, in the order of `groups`.
        pointers: Pointers of columns, or of tensor inputs, `targets` and `weights`.
        options: The options by which a table was read.
        classes: The declared classes; None to find them in the data.
        window: The windows of a time series; None without them.
        window_pointers: Pointers of the columns of `window`.
        weights: Column of weights, `weights` for tensors; None without weights.
        id: Columns that identify the rows.
        masks_targets: Whether missing targets are left out of loss and metrics.
    """

    dataset: Dataset
    groups: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...]
    dtypes: tuple[str, ...]
    pointers: Mapping[str, str]
    options: ReadOptions = field(default_factory=ReadOptions)
    classes: Sequence[Label] | None = None
    window: SeriesWindow | None = None
    window_pointers: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    id: tuple[str, ...] = ()
    masks_targets: bool = False

    @property
    def features(self) -> list[str]:
        """All feature columns, in order."""
        return [column for columns in self.groups.values() for column in columns]

    @property
    def target_pointer(self) -> str:
        """Pointer of the first target."""
        return self.pointers[self.targets[0] if self.targets else TARGETS]

    @property
    def names(self) -> list[str]:
        """The columns that are encoded, in order: features, targets and weights."""
        weights = [self.weights] if self.weights is not None else []
        return list(dict.fromkeys([*self.features, *self.targets, *weights]))  # of series, some are both

    @property
    def complete_columns(self) -> list[str]:
        """The features and targets that must have no missing values."""
        return [*self.features, *self.complete_targets]

    @property
    def complete_targets(self) -> tuple[str, ...]:
        """The targets that must have no missing values."""
        return () if self.masks_targets else self.targets

    def types(self) -> dict[str, str]:
        """Return the type of each of the columns `names`; empty for tensor data."""
        if isinstance(self.dataset, TensorDataset):
            return {}
        table = self.dataset.table
        return {name: COLUMN_TYPES[table[name].type] for name in self.names}

    def id_types(self) -> dict[str, str]:
        """Return the type of each column that identifies the rows."""
        if isinstance(self.dataset, TensorDataset):
            return {}
        return {name: COLUMN_TYPES[self.dataset.table[name].type] for name in self.id}

    def read_types(self) -> dict[str, str]:
        """Return the type of each column that is read: features, targets, and the columns of windows."""
        if isinstance(self.dataset, TensorDataset) or self.window is None:
            return self.types()
        table = self.dataset.table
        return self.types() | {name: COLUMN_TYPES[table[name].type] for name in self.window.columns}

    def columns(self) -> Columns:
        """Return the columns or tensors that transforms may name."""
        if isinstance(self.dataset, TensorDataset):
            names = list(self.groups)
            return Columns(dict.fromkeys([*names, TARGETS], "tensor"), names, [TARGETS])
        types = self.types()
        if self.weights is not None:
            del types[self.weights]
        ordered = {
            name: categories
            for name, categories in self.dataset.categories.items()
            if types.get(name) == "categorical"
        }
        return Columns(types, self.features, self.targets, ordered)


def read_declaration(
    dataset: Dataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> DeclaredData:
    """Check a declaration against its dataset; invalid parts are reported and omitted.

    Args:
        dataset: The dataset that `data` contains or refers to.
        data: The data section of a job.
        errors: Receives the errors.
        input_names: Names of the model's inputs; None to use the names in the data.
    """
    if isinstance(dataset, TabularDataset):
        return _read_table(dataset, data, errors, input_names)
    return _read_tensors(dataset, data, errors, input_names)


def _read_table(
    dataset: TabularDataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> DeclaredData:
    if not isinstance(data, TabularDeclaration | DatasetReference):
        raise TypeError(f"{type(data).__name__} declares tensors, and the dataset is a table.")
    groups, targets = _declared_names(data, dataset, errors)
    names_by_path = _names_by_path(data, targets)
    features_field = next(iter(names_by_path))[0]  # `features` or `feature_groups`
    order = _match_inputs(groups, input_names, pointer_to(DATA, features_field), errors)
    dtypes = _dtypes(data, order, input_names, errors)
    is_series = data.window() is not None
    pointers = _check_names(names_by_path, dataset.table.column_names, errors, is_series)
    valid_groups = {name: tuple(column for column in groups[name] if column in pointers) for name in order}
    features = {column for columns in valid_groups.values() for column in columns}
    valid_targets = tuple(
        name for name in targets if name in pointers and (is_series or name not in features)
    )
    options = reading_options(dataset, data)
    typed = cast_columns(dataset, data.column_types(), options, errors)
    typed = _reread_texts(typed, dataset.options, options, data.column_types())
    window, window_pointers, typed = _read_window(data, typed, options, errors)
    weights = data.weights if pointers.get(data.weights or "") == _WEIGHTS else None
    if weights is not None and is_series:
        errors.add(_WEIGHTS, "A window has several rows, and so no weight of one; omit `weights`.")
        weights = None
    return DeclaredData(
        typed,
        valid_groups,
        valid_targets,
        dtypes,
        pointers,
        options,
        data.classes,
        window,
        window_pointers,
        weights,
        id=tuple(name for name in data.id if name in pointers),
        masks_targets=data.missing_targets == "mask",
    )


def reading_options(dataset: Dataset, data: DataDeclaration) -> ReadOptions:
    """Return the options by which a dataset was read, replaced by those that a data section declares."""
    if not isinstance(dataset, TabularDataset):
        return ReadOptions()
    declared = data.reading.model_dump(exclude_unset=True, exclude={"types"})
    return ReadOptions(**dataset.options.model_dump(exclude_unset=True) | declared)


def _reread_texts(
    dataset: TabularDataset, read: ReadOptions, options: ReadOptions, types: Mapping[str, str]
) -> TabularDataset:
    """Infer the types of text columns again if the formats of cells differ from those they were read by."""
    if options.cell_options() == read.cell_options():
        return dataset
    table = dataset.table
    for index, name in enumerate(table.column_names):
        column = table[name]
        if column.type != TEXT or name in types:
            continue
        column = null_gaps(column, options)
        found = infer_kept_type(column, options)
        if found not in (None, TEXT):
            column = as_type(column, COLUMN_TYPES[found], options, str, ErrorCollector())
        table = table.set_column(index, name, column)
    return TabularDataset(table)


def _read_window(
    data: DataDeclaration, dataset: TabularDataset, options: ReadOptions, errors: ErrorCollector
) -> tuple[SeriesWindow | None, Mapping[str, str], TabularDataset]:
    """Check the columns of a window.

    Returns:
        The window, None without one or after an error; the pointers of its columns; and the dataset, with a
        column of text that orders the rows read as datetimes.
    """
    found = data.window()
    if found is None:
        return None, {}, dataset
    declared, number = found
    pointer, names = pointer_to(DATA, "transforms", number), dataset.table.column_names
    pointers = {declared.order: pointer_to(pointer, "order")}
    pointers |= {name: pointer_to(pointer, "by", position) for position, name in enumerate(declared.by)}
    unknown = [name for name in pointers if name not in names]
    for name in unknown:
        errors.add(pointers[name], _unknown_column(name, names))
    if unknown:
        return None, {}, dataset
    before, order = errors.count, dataset.table[declared.order]
    if order.type == TEXT and declared.order not in data.column_types():
        cells = Cells(declared.order, pointers[declared.order], errors, range(dataset.rows))
        times = cast(order, "datetime", options, cells)
        position = names.index(declared.order)
        dataset = TabularDataset(dataset.table.set_column(position, declared.order, times))
    elif order.type not in (DATETIME, NUMBER, INTEGER):
        detail = (
            f"`{declared.order}` is {COLUMN_TYPES[order.type]}, and rows are ordered by a datetime or a "
            "number; declare its type in `types`."
        )
        errors.add(pointers[declared.order], detail)
    window = SeriesWindow(declared.order, tuple(declared.by), declared.lags, declared.horizon)
    return (window if errors.count == before else None), pointers, dataset


def check_names(
    data: DataDeclaration, columns: Sequence[str], errors: ErrorCollector, is_series: bool
) -> None:
    """Check the column names of a declaration whose table cannot be read completely.

    Args:
        data: The data section of a job.
        columns: Column names of the table.
        errors: Receives the errors.
        is_series: Whether the rows are a time series: a feature may then be a target too.
    """
    if not isinstance(data, TabularDeclaration | DatasetReference):
        return
    names_by_path = _names_by_path(data, data.targets or [])
    window = data.window()
    _check_names(names_by_path, columns, errors, is_series)
    others: dict[tuple[str | int, ...], str] = {("types", name): name for name in data.column_types()}
    if window is not None:
        declared, number = window
        others["transforms", number, "order"] = declared.order
        others |= {("transforms", number, "by", i): name for i, name in enumerate(declared.by)}
    rule = data.split.rule()
    if rule is not None and (window is None or rule[1] != window[0].order):
        others["split", rule[0]] = rule[1]
    for path, name in others.items():
        if name not in columns:
            errors.add(pointer_to(DATA, *path), _unknown_column(name, columns))
    names = [name for path, names in names_by_path.items() if path[0] not in _REMEDIES for name in names]
    check_columns(data.transforms, names, errors)


def cast_columns(
    dataset: TabularDataset, types: Mapping[str, str], options: ReadOptions, errors: ErrorCollector
) -> TabularDataset:
    """Cast columns to their declared types, and report cells that cannot be cast.

    Args:
        dataset: The table.
        types: Column types by name.
        options: Formats of texts.
        errors: Receives the errors.
    """
    table = dataset.table
    for name, column_type in types.items():
        pointer = pointer_to(DATA, "types", name)
        if name not in table.column_names:
            errors.add(pointer, _unknown_column(name, table.column_names))
            continue
        before = errors.count
        cells = Cells(name, pointer, errors, range(dataset.rows))
        column = cast(table[name], column_type, options, cells)
        if errors.count > before:
            # Cells that cannot be cast are null now; fill them, so that they are not reported as missing too.
            column = column.fill_null(pa.scalar(0).cast(column.type))
        table = table.set_column(table.column_names.index(name), name, column)
    return TabularDataset(table)


def _unknown_column(name: str, columns: Sequence[str], candidates: Sequence[str] | None = None) -> str:
    """Describe an unknown column.

    Args:
        name: The unknown name.
        columns: All columns.
        candidates: Columns to suggest; by default all.
    """
    hint = did_you_mean(name, columns if candidates is None else candidates)
    return f"There is no column `{name}`" + (hint or f". The columns are {', '.join(columns)}.")


def _declared_names(
    data: TabularDeclaration | DatasetReference, dataset: TabularDataset, errors: ErrorCollector
) -> tuple[Mapping[str, Sequence[str]], Sequence[str]]:
    """Return the declared feature columns of each input, and the targets; a reference may lack them."""
    columns = ", ".join(dataset.table.column_names)
    if data.features is None and data.feature_groups is None:
        errors.add(DATA, f"`features` is required with a table; its columns are {columns}.")
    elif data.features is not None and data.feature_groups is not None:
        errors.add(DATA, "Give `features` or `feature_groups`, not both.")
    if data.targets is None:
        errors.add(DATA, f"`targets` is required with a table; its columns are {columns}.")
    return data.feature_groups or {SINGLE_INPUT: data.features or []}, data.targets or []


def _match_inputs(
    found: Collection[str], expected: Sequence[str] | None, pointer: str, errors: ErrorCollector
) -> list[str]:
    """Return the data's input names in the model's order.

    Args:
        found: Names in the data. If there is one input, the name does not matter.
        expected: Names of the model's inputs.
        pointer: Location of the inputs in the request.
        errors: Receives an error if the names differ.
    """
    if expected is None or len(found) == len(expected) == 1:
        return list(found)
    if set(found) == set(expected):
        return list(expected)
    model_names, data_names = ", ".join(expected), ", ".join(found)
    if len(expected) == 1:
        errors.add(pointer, f"The architecture has one input, but the data has {len(found)}: {data_names}.")
    elif len(found) == 1:
        detail = f"The architecture has the inputs {model_names}; name them in `feature_groups` or `inputs`."
        errors.add(pointer, detail)
    else:
        errors.add(pointer, f"The architecture has the inputs {model_names}; the data has {data_names}.")
    return list(found)


def _dtypes(
    data: DataDeclaration, names: Sequence[str], expected: Sequence[str] | None, errors: ErrorCollector
) -> tuple[str, ...]:
    """Return the declared dtype of each input in `names`, by default float32.

    A single input may also be named as the model names it (`expected`).
    """
    declared = dict(data.dtypes)
    if expected is not None and len(names) == len(expected) == 1 and expected[0] in declared:
        declared[names[0]] = declared.pop(expected[0])
    for name in declared:
        if name not in names:
            hint = did_you_mean(name, names) or f". The inputs are {', '.join(names)}."
            errors.add(pointer_to(DATA, "dtypes", name), f"There is no input `{name}`{hint}")
    return tuple(declared.get(name, "float32") for name in names)


def _names_by_path(
    data: TabularDeclaration | DatasetReference, targets: Sequence[str]
) -> dict[tuple[str, ...], Sequence[str]]:
    """Map the path of each list of columns in the data section to its columns; features come first."""
    others: dict[tuple[str, ...], Sequence[str]] = {
        ("targets",): targets,
        ("weights",): [data.weights] if data.weights else [],
        ("id",): data.id,
    }
    if data.feature_groups is None:
        return {("features",): data.features or [], **others}
    groups = data.feature_groups.items()
    return {**{("feature_groups", name): columns for name, columns in groups}, **others}


def _check_names(
    names_by_path: Mapping[tuple[str, ...], Sequence[str]],
    columns: Sequence[str],
    errors: ErrorCollector,
    is_series: bool,
) -> dict[str, str]:
    """Report unknown names and names used twice.

    Args:
        names_by_path: Names by their path in the data section; those of features come first.
        columns: All columns.
        errors: Receives the errors.
        is_series: Whether the rows are a time series: a feature may then be a target too.

    Returns:
        Pointers of the valid names.
    """
    pointers: dict[str, str] = {}
    used = {name for names in names_by_path.values() for name in names}
    for path, names in names_by_path.items():
        for position, name in enumerate(names):
            pointer = _WEIGHTS if path == ("weights",) else pointer_to(DATA, *path, position)
            if name not in columns:
                unused = [column for column in columns if column not in used]
                errors.add(pointer, _unknown_column(name, columns, unused))
            elif is_series and path == ("targets",) and name not in names[:position]:
                pointers.setdefault(name, pointer)
            elif name in pointers:
                errors.add(
                    pointer,
                    f"`{name}` is already used at {pointers[name]}; {_REMEDIES.get(path[0], 'use it once')}.",
                )
            else:
                pointers[name] = pointer
    return pointers


def _read_tensors(
    dataset: TensorDataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> DeclaredData:
    for name in ("features", "feature_groups", "targets", "id"):
        if isinstance(data, DatasetReference) and getattr(data, name):
            errors.add(pointer_to(DATA, name), f"Tensor data has no columns; omit `{name}`.")
    if found := data.window():
        detail = "Tensor data has no columns that order its rows; send windows as tensors, and omit `window`."
        errors.add(pointer_to(DATA, "transforms", found[1]), detail)
    if isinstance(data, DatasetReference) and data.weights is not None:
        if dataset.weights is None:
            detail = (
                f"The dataset has no array `{WEIGHTS}`; upload the weights under this name beside `inputs`."
            )
            errors.add(_WEIGHTS, detail)
        elif data.weights != WEIGHTS:
            errors.add(
                _WEIGHTS, f"The weights of tensors are their array `{WEIGHTS}`; give this name or none."
            )
    for name in data.column_types():
        detail = "Tensor data has no columns; omit `types`, or declare the dtype of an input in `dtypes`."
        errors.add(pointer_to(DATA, "types", name), detail)
    if dataset.targets is None:
        errors.fail(DATA, "The dataset has inputs but no targets to train on; use one with `targets`.")
    container = pointer_to(DATA, "inputs") if isinstance(data, InlineTensors) else DATA
    order = _match_inputs(dataset.inputs, input_names, container, errors)
    dtypes = _dtypes(data, order, input_names, errors)
    return DeclaredData(
        dataset,
        dict.fromkeys(order, ()),
        (),
        dtypes,
        _tensor_pointers(dataset, data),
        classes=data.classes,
        weights=None if dataset.weights is None else WEIGHTS,
        masks_targets=data.missing_targets == "mask",
    )


def _tensor_pointers(dataset: TensorDataset, data: DataDeclaration) -> Mapping[str, str]:
    """Return the pointers of all tensors; for an uploaded dataset, that of the section."""
    others = (TARGETS,) if dataset.weights is None else (TARGETS, WEIGHTS)
    if not isinstance(data, InlineTensors):
        return dict.fromkeys([*dataset.inputs, *others], DATA)
    inputs = pointer_to(DATA, "inputs")
    named = isinstance(data.inputs, dict)
    pointers = {name: pointer_to(inputs, name) if named else inputs for name in dataset.inputs}
    return pointers | {name: pointer_to(DATA, name) for name in others}


def check_class_tensor(targets: Tensor, pointer: str, errors: ErrorCollector) -> None:
    """Check that tensor targets can be classes: not floating point, and not [B, 1]."""
    if targets.dtype.kind == "f":
        errors.add(pointer, "Classes must be integers; found numbers with a decimal point.")
    elif targets.shape[1:] == (1,):
        detail = f"Classes must have shape [B], not {list(targets.shape)}; remove the inner brackets."
        errors.add(pointer, detail)


def check_value_tensor(targets: Tensor, pointer: str, errors: ErrorCollector) -> None:
    """Check that tensor targets have at least two dimensions."""
    if targets.ndim == 1:
        detail = f"Targets of this loss must have shape [B, k]: {wrapping_remedy(np.asarray(targets[:3]))}"
        errors.add(pointer, detail)
