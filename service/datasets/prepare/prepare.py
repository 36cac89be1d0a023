"""Preparation of a job's data: splits, fitted transforms and encoded tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import torch

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.classes import check_counted, renumbered, with_class_values
from service.datasets.prepare.declaration import read_declaration
from service.datasets.prepare.declared_data import DATA, DeclaredData, TargetType
from service.datasets.prepare.encode import Encoded, encode
from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.prepare.far_inputs import find_input_ranges
from service.datasets.prepare.feature_warnings import order_warnings
from service.datasets.prepare.fitting import (
    NUMERIC_TYPES,
    check_targets_differ,
    check_types,
    fit_encoding,
    words_in,
)
from service.datasets.prepare.missing_values import (
    check_missing_targets,
    check_missing_values,
    check_rows_left,
    complete_rows,
    dropping_columns,
)
from service.datasets.prepare.neighbours import neighbour_warning
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.series import (
    SplitWindows,
    find_windows,
    read_windows,
    sort_declared,
    window_samples,
    window_warnings,
)
from service.datasets.prepare.split import SplitRows, check_split, check_split_rows, split_rows
from service.datasets.prepare.split_keys import rule_key
from service.datasets.prepare.split_samples import check_split_samples
from service.datasets.prepare.table_reading import TableReading
from service.datasets.prepare.target_rules import TargetRules
from service.datasets.prepare.weights import encode_weights
from service.datasets.prepare.windows import Series
from service.datasets.prepare.workspace import MemoryWorkspace, Workspace
from service.datasets.rows import Rows, as_tensor
from service.datasets.samples import Samples
from service.datasets.transforms.resolve import Step, resolve
from service.datasets.validation import ErrorCollector, count_of
from service.errors import FieldError, pointer_to
from service.specs.data import DataDeclaration
from service.specs.split import SPLIT_NAMES, SplitName
from service.specs.transforms import Label

# A part of the data that is encoded: the dataset that is divided, or a dataset that is a whole split.
_DIVIDED: Final = "divided"
_Part = Literal["divided"] | SplitName


@dataclass(frozen=True, eq=False)
class Prepared:
    """Encoded data of a job, in the order of the split.

    Attributes:
        train: Training samples.
        validation: Validation samples; None for an empty split.
        test: Test samples; None for an empty split.
        encoding: The fitted encoding.
        dropped: Number of rows that `drop_rows` dropped because of missing values.
        rows: Row numbers of each split in its dataset, in the order of its samples.
        warnings: Valid but suspicious properties of the data and the split.
    """

    train: Samples
    validation: Samples | None
    test: Samples | None
    encoding: Encoding
    dropped: int = 0
    rows: Mapping[SplitName, Rows] = field(default_factory=dict)
    warnings: Sequence[FieldError] = ()

    def splits(self) -> dict[SplitName, Samples]:
        """Return the samples by split, without empty splits."""
        samples: dict[SplitName, Samples | None] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: split for name, split in samples.items() if split is not None}


@dataclass(frozen=True, eq=False)
class JobDatasets:
    """The datasets that a data section contains or refers to.

    Attributes:
        dataset: The dataset that is divided into splits.
        whole_splits: Datasets of which all rows are one split (`validation_dataset_id`, `test_dataset_id`).
    """

    dataset: Dataset
    whole_splits: Mapping[SplitName, Dataset] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Division:
    """The rows of each split, before transforms are fitted.

    Attributes:
        declared: The dataset and its declaration.
        steps: Transforms of each column, in order.
        kept: Rows of the dataset that `drop_rows` keeps.
        splits: Rows of the dataset in each split.
        whole_splits: Rows of the datasets that are a whole split.
        windows: Windows of the dataset; None if each row is a sample.
    """

    declared: DeclaredData
    steps: Sequence[Step]
    kept: Rows
    splits: SplitRows
    whole_splits: Mapping[SplitName, RawRows]
    windows: SplitWindows | None = None

    def raw_rows(self, errors: ErrorCollector) -> dict[_Part, RawRows]:
        """Return the rows to encode: of windows, all rows of their series."""
        kept = self.kept if self.windows is None else self.windows.series.rows
        divided = RawRows(self.declared.dataset, kept, self.declared.pointers.__getitem__, errors)
        parts: dict[_Part, RawRows] = {_DIVIDED: divided}
        for name, each in self.whole_splits.items():
            parts[name] = each._replace(rows=_kept_rows(each), series=None)
        return parts

    def rows(self) -> dict[SplitName, Rows]:
        """Return the row numbers of each split, in its own dataset if it is a whole one."""
        whole = {name: raw.rows for name, raw in self.whole_splits.items()}
        if self.windows is not None:
            return {**self.windows.last_rows(), **whole}
        return self.splits._asdict() | whole  # type: ignore[return-value]  # its fields are names of splits


def rows_by_split(
    datasets: JobDatasets,
    data: DataDeclaration,
    target_type: TargetType,
    input_names: Sequence[str] | None = None,
) -> Mapping[SplitName, torch.Tensor]:
    """Return the row numbers of each split, int64 [n], without encoding the data.

    A window is represented by the last row of its inputs.

    Args:
        datasets: The datasets, without errors of `prepare`.
        data: The data section of a job.
        target_type: Type of targets that the loss needs.
        input_names: Names of the model's inputs.
    """
    division = _divide(datasets, data, target_type, ErrorCollector(), input_names)
    return {name: as_tensor(rows) for name, rows in division.rows().items()}


def series_by_split(
    datasets: JobDatasets,
    data: DataDeclaration,
    target_type: TargetType,
    input_names: Sequence[str] | None = None,
) -> Mapping[SplitName, Series]:
    """Return the series of the windows of each split; empty if each row is a sample."""
    division = _divide(datasets, data, target_type, ErrorCollector(), input_names)
    if division.windows is None:
        return {}
    whole = {name: raw.series for name, raw in division.whole_splits.items() if raw.series is not None}
    return {**dict.fromkeys(SPLIT_NAMES, division.windows.series), **whole}


def prepare(
    datasets: JobDatasets,
    data: DataDeclaration,
    target_type: TargetType,
    input_names: Sequence[str] | None = None,
    workspace: Workspace | None = None,
    ignored: int | None = None,
    target_rules: TargetRules | None = None,
) -> Prepared:
    """Split a dataset, fit the transforms on the training rows, and encode all rows.

    Args:
        datasets: The datasets that `data` contains or refers to.
        data: The data section of a job.
        target_type: Type of targets that the loss needs.
        input_names: Names of the model's inputs. If there are several, the data must use the same names. By
            default, the names in the data.
        workspace: Memory for the inputs; by default RAM.
        ignored: The label that the loss ignores; None for a loss that ignores none.
        target_rules: Rules about the values of the targets; None for data that was checked before.

    Raises:
        InvalidRequest: With every error of the data section; pointers start with `#/data`.
    """
    errors = ErrorCollector()
    workspace = workspace or MemoryWorkspace()
    division = _divide(datasets, data, target_type, errors, input_names)
    declared, raw = division.declared, division.raw_rows(errors)
    whole = [(each.dataset, _kept_rows(each)) for each in division.whole_splits.values()]
    rows = [(declared.dataset, division.kept), *whole]
    encoding = fit_encoding(
        declared, target_type, division.steps, rows, division.splits.train, ignored, errors
    )
    errors.raise_if_any()
    encoded = {
        name: encode(encoding, each, targets=True, weights=encoding.weights is not None, workspace=workspace)
        for name, each in raw.items()
    }
    _check_targets(declared, encoding, target_type, target_rules, raw, encoded, errors)
    samples = _samples(division, encoding, encoded, workspace)
    train = samples["train"]
    assert train is not None
    encoding = replace(
        encoding,
        model_input=input_names[0] if input_names is not None and len(input_names) == 1 else None,
        input_ranges=find_input_ranges(encoding, train),
    )
    warnings = check_split_samples(declared, samples, errors)
    errors.raise_if_any()
    prepared = Prepared(
        train=train,
        validation=samples["validation"],
        test=samples["test"],
        encoding=encoding,
        dropped=sum(dataset.rows - len(chosen) for dataset, chosen in rows),
        rows=division.rows(),
        warnings=[*_warnings(division, data), *order_warnings(division.steps, encoding), *warnings],
    )
    check_counted(prepared.encoding, prepared.splits(), declared.target_pointer, errors)
    errors.raise_if_any()
    return prepared


def _check_targets(
    declared: DeclaredData,
    encoding: Encoding,
    target_type: TargetType,
    rules: TargetRules | None,
    raw: Mapping[_Part, RawRows],
    encoded: Mapping[_Part, Encoded],
    errors: ErrorCollector,
) -> None:
    """Check the values of the targets.

    Raises:
        InvalidRequest: With every error found so far.
    """
    if rules is not None:
        for name, each in encoded.items():
            assert each.targets is not None
            rules.check(encoding, raw[name], each.targets)
    errors.raise_if_any()
    targets = encoded[_DIVIDED].targets
    assert targets is not None
    check_targets_differ(declared, encoding, target_type, targets, errors)
    errors.raise_if_any()


def _samples(
    division: _Division, encoding: Encoding, encoded: Mapping[_Part, Encoded], workspace: Workspace
) -> dict[SplitName, Samples | None]:
    """Return the samples of each split; None for an empty one."""
    whole = {
        name: _whole_samples(encoding, each, encoded[name], workspace)
        for name, each in division.whole_splits.items()
    }
    divided = encoded[_DIVIDED]
    return {
        name: whole.get(name) or _select(division, encoding, divided, name, workspace) for name in SPLIT_NAMES
    }


def _select(
    division: _Division, encoding: Encoding, encoded: Encoded, name: SplitName, workspace: Workspace
) -> Samples | None:
    """Select the samples of a split from those of the divided dataset; None for an empty split."""
    if division.windows is not None:
        return window_samples(encoding, encoded, division.windows.first[name], workspace)
    rows: torch.Tensor = getattr(division.splits, name)
    if not len(rows):
        return None
    # Row i of `samples` is row kept[i] of the dataset, and `rows` are rows of the dataset. A range starts
    # at 0: row numbers are positions. Otherwise `kept` is ascending and contains `rows`.
    kept = division.kept
    positions = rows if isinstance(kept, range) else torch.searchsorted(kept, rows)
    assert encoded.targets is not None
    samples = Samples(encoded.inputs, encoded.targets, weights=encoded.weights)
    if encoded.mapped:  # too large to be copied in training order
        return replace(samples, order=positions)
    return samples.take(positions)


def renumber(prepared: Prepared, values: Sequence[Label]) -> Prepared:
    """Number the classes by a list of target values, one for each output, instead of in sorted order.

    Args:
        prepared: Data whose classes were not declared.
        values: The values, which include those of all rows; a range if the targets are indices of outputs.
    """
    encoding = prepared.encoding
    other = with_class_values(encoding, values)
    splits = {name: renumbered(samples, encoding, other) for name, samples in prepared.splits().items()}
    return _replaced(prepared, splits, other)


def flatten_targets(prepared: Prepared, shape: Sequence[int]) -> Prepared:
    """Make the targets [B] for a model that returns [B], where a table has a single target column.

    Args:
        prepared: The data.
        shape: Shape of the output that is compared with the targets, without the batch dimension.
    """
    encoding = prepared.encoding
    if len(shape) or not encoding.targets or encoding.batch_target_shape != (1,):
        return prepared
    splits = {
        name: replace(samples, targets=samples.targets.flatten())
        for name, samples in prepared.splits().items()
    }
    return _replaced(prepared, splits, replace(encoding, flat_targets=True))


def _replaced(prepared: Prepared, splits: Mapping[SplitName, Samples], encoding: Encoding) -> Prepared:
    """Return the data with other samples."""
    return replace(
        prepared,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        encoding=encoding,
    )


def _divide(
    datasets: JobDatasets,
    data: DataDeclaration,
    target_type: TargetType,
    errors: ErrorCollector,
    input_names: Sequence[str] | None,
) -> _Division:
    """Check the declaration and divide the rows, without reading the values of all columns.

    Raises:
        InvalidRequest: With every error found so far.
    """
    declared = read_declaration(datasets.dataset, data, errors, input_names)
    steps = resolve(data.transforms, declared.columns(), errors)
    kept = complete_rows(declared.dataset, dropping_columns(steps))
    check_rows_left(steps, kept, declared.dataset.rows, errors)
    check_split(data.split, declared.dataset.rows, len(kept), errors)
    if isinstance(declared.dataset, TabularDataset):
        pointers = {name: declared.pointers[name] for name in declared.complete_columns}
        check_missing_values(
            declared.dataset.table, pointers, declared.complete_targets, data.transforms, steps, kept, errors
        )
    elif not declared.masks_targets:
        check_missing_targets(declared.dataset.targets, declared.pointers[TARGETS], errors)
    _check_weights(declared, RawRows(declared.dataset, kept, declared.pointers.__getitem__, errors))
    # After missing values: the remedies are applied in the order of the errors.
    check_types(declared, target_type, data.transforms, steps, errors)
    series = sort_declared(declared, kept, errors)
    by_window_order = (found := data.window()) is not None and data.split.time == found[0].order
    key = None
    if series is not None or not by_window_order:  # errors of the column are reported already
        key = rule_key(data.split, declared.dataset, declared.options, kept, errors)
    whole_splits = {
        name: _read_whole_split(declared, dataset, name, steps, errors)
        for name, dataset in datasets.whole_splits.items()
    }
    errors.raise_if_any()
    splits = split_rows(data.split, kept, key, whole_times=series is not None)
    check_split_rows(data.split, splits, errors)
    windows = None if series is None else find_windows(declared, data, series, splits, errors)
    errors.raise_if_any()
    valid = {name: raw for name, raw in whole_splits.items() if raw is not None}
    return _Division(declared, steps, kept, splits, valid, windows)


def _warnings(division: _Division, data: DataDeclaration) -> list[FieldError]:
    """Warn of suspicious windows; of rows that are no windows, of a random split in the order of time."""
    if division.windows is not None:
        return window_warnings(division.declared, data, division.windows)
    warning = neighbour_warning(data, division.declared.dataset)
    return [] if warning is None else [warning]


def _split_pointer(name: SplitName) -> str:
    return pointer_to(DATA, "split", f"{name}_dataset_id")


def _read_whole_split(
    declared: DeclaredData, dataset: Dataset, name: SplitName, steps: Sequence[Step], errors: ErrorCollector
) -> RawRows | None:
    """Check a dataset that is a whole split, and drop rows with missing values.

    Returns:
        The kept rows; None if the dataset does not fit the declaration.
    """
    pointer, before = _split_pointer(name), errors.count
    _check_same_structure(declared, dataset, pointer, errors)
    if errors.count > before:
        return None
    types = declared.read_types()
    reading = TableReading(types, declared.options, words_in(declared, [declared.dataset]))
    raw = RawRows.of(reading, dataset, [*types], lambda _: pointer, errors)
    if errors.count > before:  # cells that cannot be read
        return None
    raw = raw._replace(rows=complete_rows(raw.dataset, dropping_columns(steps)))
    if not len(raw.rows):
        errors.add(pointer, f"`drop_rows` drops all of its {count_of(dataset.rows, 'row')}.")
    elif isinstance(raw.dataset, TabularDataset):
        pointers = dict.fromkeys(declared.complete_columns, pointer)
        check_missing_values(
            raw.dataset.table, pointers, declared.complete_targets, (), steps, raw.rows, errors
        )
        if declared.window is not None:
            return read_windows(declared.window, raw, pointer)
    elif not declared.masks_targets:
        check_missing_targets(raw.dataset.targets, pointer, errors)
    _check_weights(declared, raw)
    return raw


def _kept_rows(raw: RawRows) -> Rows:
    """Return the rows that are encoded; of windows, all rows of their series."""
    return raw.rows if raw.series is None else raw.series.rows


def _check_weights(declared: DeclaredData, raw: RawRows) -> None:
    """Report weights that are missing, negative or infinite."""
    if declared.weights is not None and declared.types().get(declared.weights, "numeric") in NUMERIC_TYPES:
        encode_weights(declared.weights, raw)


def _check_same_structure(
    declared: DeclaredData, dataset: Dataset, pointer: str, errors: ErrorCollector
) -> None:
    """Check that a dataset has the columns, or inputs and targets, of the dataset that is divided."""
    if type(dataset) is not type(declared.dataset):
        errors.add(pointer, "The datasets must both be tables or both be tensors; these are one of each.")
        return
    if isinstance(dataset, TabularDataset):
        present = set(dataset.table.column_names)
        for name in declared.read_types():
            if name not in present:
                errors.add(pointer, f"The dataset has no column `{name}`.")
        return
    for name in declared.groups:
        if name not in dataset.inputs:
            errors.add(pointer, f"The dataset has no input `{name}`.")
            continue
        found, expected = dataset.inputs[name].shape, declared.dataset.inputs[name].shape  # type: ignore[union-attr]
        if found[1:] != expected[1:]:
            detail = f"`{name}` has shape {list(found)}; the training data has {list(expected)}."
            errors.add(pointer, f"{detail} All dimensions except the first must be equal.")
    if declared.weights is not None and dataset.weights is None:
        errors.add(pointer, "The dataset has no `weights`, and the training data has.")
    expected_targets = declared.dataset.targets  # type: ignore[union-attr]
    if dataset.targets is None or dataset.targets.shape[1:] != expected_targets.shape[1:]:  # type: ignore[union-attr]
        errors.add(pointer, "The dataset has no targets of the same shape as those of the training data.")


def _whole_samples(encoding: Encoding, raw: RawRows, encoded: Encoded, workspace: Workspace) -> Samples:
    """Return the samples of a dataset that is a whole split, from its encoded rows."""
    assert encoded.targets is not None
    if raw.series is not None and encoding.window is not None:
        first = raw.series.first_positions(encoding.window.rows)
        samples = window_samples(encoding, encoded, first, workspace)
        assert samples is not None
        return samples
    order = torch.arange(len(encoded.targets)) if encoded.mapped else None
    return Samples(encoded.inputs, encoded.targets, order, encoded.weights)
