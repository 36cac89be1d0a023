"""Check of a data section against its dataset: column names, types, inputs and tensor shapes."""

from collections.abc import Mapping, Sequence
from functools import partial

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.declared_data import DATA, WEIGHTS_POINTER, DeclaredData
from service.datasets.prepare.declared_names import (
    declared_names,
    input_dtypes,
    match_inputs,
    names_in,
    valid_pointers,
)
from service.datasets.prepare.declared_tensors import read_tensors
from service.datasets.prepare.declared_types import cast_columns, reading_options, reread_texts
from service.datasets.prepare.windows import SeriesWindow
from service.datasets.sources.casts import cast
from service.datasets.sources.columns import COLUMN_TYPES, DATETIME, INTEGER, NUMBER, TEXT, unknown_column
from service.datasets.validation import Cells, ErrorCollector
from service.errors import pointer_to
from service.specs.data import DataDeclaration, DatasetReference, TabularDeclaration
from service.specs.upload import ReadOptions


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
    return read_tensors(dataset, data, errors, input_names)


def _read_table(
    dataset: TabularDataset, data: DataDeclaration, errors: ErrorCollector, input_names: Sequence[str] | None
) -> DeclaredData:
    if not isinstance(data, TabularDeclaration | DatasetReference):
        raise TypeError(f"{type(data).__name__} declares tensors, and the dataset is a table.")
    groups, targets = declared_names(data, dataset, errors)
    names_by_path = names_in(data, targets)
    features_field = next(iter(names_by_path))[0]  # `features` or `feature_groups`
    order = match_inputs(groups, input_names, pointer_to(DATA, features_field), errors)
    dtypes = input_dtypes(data, order, input_names, errors)
    is_series = data.window() is not None
    pointers = valid_pointers(names_by_path, dataset.table.column_names, errors, is_series)
    features = {column for name in order for column in groups[name]}
    twice = set() if is_series else features.intersection(targets)
    valid_groups = {name: tuple(column for column in groups[name] if column in pointers) for name in order}
    valid_targets = tuple(name for name in targets if name in pointers and name not in twice)
    options = reading_options(dataset, data)
    typed = cast_columns(dataset, data.column_types(), options, errors)
    typed = reread_texts(typed, dataset.options, options, data.column_types())
    window, window_pointers, typed = _read_window(data, typed, options, errors)
    weights = data.weights if pointers.get(data.weights or "") == WEIGHTS_POINTER else None
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
        ambiguous=frozenset(twice),
    )


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
        errors.add(pointers[name], partial(unknown_column, name, names))
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
