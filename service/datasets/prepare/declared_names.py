"""Names of columns and inputs in a declaration, checked against its data."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.prepare.declared_data import DATA, WEIGHTS_POINTER
from service.datasets.sources.columns import unknown_column
from service.datasets.sources.tensors import SINGLE_INPUT
from service.datasets.transforms.resolve import check_columns
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.base import did_you_mean, list_names
from service.specs.data import DataDeclaration, DatasetReference, TabularDeclaration

# Fields of columns that are neither features nor targets, and what to do about a column that is one.
_REMEDIES = {
    "weights": "weights are neither features nor targets, so use another column",
    "id": "an id is neither a feature, a target nor a weight, so remove it here or there",
}
_FEATURE_AND_TARGET = (
    "remove it from the features, where the model is given its answer, or send a copy under another name for "
    "a model that reproduces its input"
)


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
    names_by_path = names_in(data, data.targets or [])
    window = data.window()
    valid_pointers(names_by_path, columns, errors, is_series)
    others: dict[tuple[str | int, ...], str] = {("types", name): name for name in data.column_types()}
    if window is not None:
        declared, number = window
        others["transforms", number, "order"] = declared.order
        others |= {("transforms", number, "by", i): name for i, name in enumerate(declared.by)}
    rule = data.split.rule()
    if rule is not None and (window is None or rule[1] != window[0].order):
        others["split", rule[0]] = rule[1]
    known = set(columns)
    for path, name in others.items():
        if name not in known:
            errors.add(pointer_to(DATA, *path), partial(unknown_column, name, columns))
    names = [name for path, names in names_by_path.items() if path[0] not in _REMEDIES for name in names]
    check_columns(data.transforms, names, errors)


def names_in(
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


def valid_pointers(
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
    known, used = set(columns), {name for names in names_by_path.values() for name in names}
    unused = [column for column in columns if column not in used]
    for path, names in names_by_path.items():
        seen: set[str] = set()
        for position, name in enumerate(names):
            pointer = WEIGHTS_POINTER if path == ("weights",) else pointer_to(DATA, *path, position)
            is_repeated = name in seen
            seen.add(name)
            if name not in known:
                errors.add(pointer, partial(unknown_column, name, columns, unused))
            elif is_series and path == ("targets",) and not is_repeated:
                pointers.setdefault(name, pointer)
            elif name in pointers:
                remedy = _REMEDIES.get(path[0], "use it once")
                if path == ("targets",) and name not in names[:position]:
                    remedy = _FEATURE_AND_TARGET
                errors.add(pointer, f"`{name}` is already used at {pointers[name]}; {remedy}.")
            else:
                pointers[name] = pointer
    return pointers


def declared_names(
    data: TabularDeclaration | DatasetReference, dataset: TabularDataset, errors: ErrorCollector
) -> tuple[Mapping[str, Sequence[str]], Sequence[str]]:
    """Return the declared feature columns of each input, and the targets; a reference may lack them."""
    columns = list_names(dataset.table.column_names)
    if data.features is None and data.feature_groups is None:
        errors.add(DATA, f"`features` is required with a table; its columns are {columns}.")
    elif data.features is not None and data.feature_groups is not None:
        errors.add(DATA, "Give `features` or `feature_groups`, not both.")
    if data.targets is None:
        errors.add(DATA, f"`targets` is required with a table; its columns are {columns}.")
    return data.feature_groups or {SINGLE_INPUT: data.features or []}, data.targets or []


def given_inputs(data: Any, dataset: Dataset | None) -> Collection[str]:
    """Return the names of the inputs that a data section has, as far as they are known before it is checked.

    Args:
        data: The data section, which may be incomplete.
        dataset: The dataset that it contains or refers to, if it could be loaded.
    """
    if isinstance(dataset, TensorDataset):
        return dataset.inputs
    groups = getattr(data, "feature_groups", None)
    return groups if isinstance(groups, Mapping) else ()


def match_inputs(
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
    model_names, data_names = list_names(expected), list_names(found)
    if len(expected) == 1:
        errors.add(pointer, f"The architecture has one input, but the data has {len(found)}: {data_names}.")
    elif len(found) == 1:
        detail = f"The architecture has the inputs {model_names}; name them in `feature_groups` or `inputs`."
        errors.add(pointer, detail)
    else:
        errors.add(pointer, f"The architecture has the inputs {model_names}; the data has {data_names}.")
    return list(found)


def input_dtypes(
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
            errors.add(pointer_to(DATA, "dtypes", name), partial(_unknown_input, name, names))
    return tuple(declared.get(name, "float32") for name in names)


def _unknown_input(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, names) or f". The inputs are {list_names(names)}."
    return f"There is no input `{name}`{hint}"
