"""Preparation of a job's data: splits, fitted transforms and encoded tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.classes import check_counted, renumbered, with_class_values
from service.datasets.prepare.declaration import DATA, DeclaredData, TargetType, read_declaration
from service.datasets.prepare.encode import RawRows, encode
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.fitting import check_targets_differ, check_types, fit_encoding
from service.datasets.prepare.missing_values import check_missing_values, check_rows_left, complete_rows
from service.datasets.prepare.split import SplitRows, check_split, check_split_rows, split_rows
from service.datasets.prepare.split_keys import rule_key
from service.datasets.prepare.table_reading import TableReading
from service.datasets.prepare.target_rules import TargetRules
from service.datasets.prepare.workspace import MemoryWorkspace, Workspace
from service.datasets.rows import Rows, as_tensor
from service.datasets.samples import Samples
from service.datasets.transforms.resolve import Step, resolve
from service.datasets.validation import ErrorCollector, count_of
from service.errors import pointer_to
from service.specs.data import DataDeclaration
from service.specs.split import SplitName
from service.specs.transforms import Label


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
    """

    train: Samples
    validation: Samples | None
    test: Samples | None
    encoding: Encoding
    dropped: int = 0
    rows: Mapping[SplitName, Rows] = field(default_factory=dict)

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
    """

    declared: DeclaredData
    steps: Sequence[Step]
    kept: Rows
    splits: SplitRows
    whole_splits: Mapping[SplitName, RawRows]

    def rows(self) -> dict[SplitName, Rows]:
        """Return the row numbers of each split, in its own dataset if it is a whole one."""
        whole = {name: raw.rows for name, raw in self.whole_splits.items()}
        return self.splits._asdict() | whole  # type: ignore[return-value]  # its fields are names of splits


def rows_by_split(
    datasets: JobDatasets,
    data: DataDeclaration,
    target_type: TargetType,
    input_names: Sequence[str] | None = None,
) -> Mapping[SplitName, torch.Tensor]:
    """Return the row numbers of each split, int64 [n], without encoding the data.

    Args:
        datasets: The datasets, without errors of `prepare`.
        data: The data section of a job.
        target_type: Type of targets that the loss needs.
        input_names: Names of the model's inputs.
    """
    division = _divide(datasets, data, target_type, ErrorCollector(), input_names)
    return {name: as_tensor(rows) for name, rows in division.rows().items()}


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
    declared, kept, splits = division.declared, division.kept, division.splits
    rows = [(declared.dataset, kept), *((raw.dataset, raw.rows) for raw in division.whole_splits.values())]
    encoding = fit_encoding(declared, target_type, division.steps, rows, splits.train, ignored, errors)
    errors.raise_if_any()
    raw = RawRows(declared.dataset, kept, declared.pointers.__getitem__, errors)
    encoded = encode(encoding, raw, targets=True, workspace=workspace)
    assert encoded.targets is not None
    whole = {name: _encode_whole(encoding, each, workspace) for name, each in division.whole_splits.items()}
    if target_rules is not None:
        target_rules.check(encoding, raw, encoded.targets)
        for name, samples in whole.items():
            target_rules.check(encoding, division.whole_splits[name], samples.targets)
    errors.raise_if_any()
    check_targets_differ(declared, encoding, target_type, encoded.targets, errors)
    errors.raise_if_any()
    # Row i of `kept_samples` is row kept[i] of the dataset; `splits` has row numbers of the dataset.
    kept_samples = Samples(encoded.inputs, encoded.targets)

    def select(rows: torch.Tensor) -> Samples | None:
        if not len(rows):
            return None
        # A range starts at 0: row numbers are positions. Otherwise `kept` is ascending and contains `rows`.
        positions = rows if isinstance(kept, range) else torch.searchsorted(kept, rows)
        if encoded.mapped:  # too large to be copied in training order
            return Samples(kept_samples.inputs, kept_samples.targets, positions)
        return kept_samples.take(positions)

    train = select(splits.train)
    assert train is not None
    prepared = Prepared(
        train=train,
        validation=whole.get("validation") or select(splits.validation),
        test=whole.get("test") or select(splits.test),
        encoding=encoding,
        dropped=sum(dataset.rows - len(chosen) for dataset, chosen in rows),
        rows=division.rows(),
    )
    check_counted(prepared.encoding, prepared.splits(), declared.target_pointer, errors)
    errors.raise_if_any()
    return prepared


def renumber(prepared: Prepared, values: Sequence[Label]) -> Prepared:
    """Number the classes by a list of target values, one for each output, instead of in sorted order.

    Args:
        prepared: Data whose classes were not declared.
        values: The values, which include those of all rows; a range if the targets are indices of outputs.
    """
    encoding = prepared.encoding
    other = with_class_values(encoding, values)
    splits = {name: renumbered(samples, encoding, other) for name, samples in prepared.splits().items()}
    return replace(
        prepared,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        encoding=other,
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
    kept = complete_rows(declared.dataset, steps)
    check_rows_left(steps, kept, declared.dataset.rows, errors)
    check_split(data.split, declared.dataset.rows, len(kept), errors)
    if isinstance(declared.dataset, TabularDataset):
        pointers = {name: declared.pointers[name] for name in [*declared.features, *declared.targets]}
        check_missing_values(
            declared.dataset.table, pointers, declared.targets, data.transforms, steps, kept, errors
        )
    # After missing values: the remedies are applied in the order of the errors.
    check_types(declared, target_type, steps, errors)
    key = rule_key(data.split, declared.dataset, declared.options, kept, errors)
    whole_splits = {
        name: _read_whole_split(declared, dataset, name, steps, errors)
        for name, dataset in datasets.whole_splits.items()
    }
    errors.raise_if_any()
    splits = split_rows(data.split, kept, key)
    check_split_rows(data.split, splits, errors)
    errors.raise_if_any()
    valid = {name: raw for name, raw in whole_splits.items() if raw is not None}
    return _Division(declared, steps, kept, splits, valid)


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
    pointers = dict.fromkeys([*declared.features, *declared.targets], pointer)
    raw = RawRows.of(
        TableReading(declared.types(), declared.options), dataset, [*pointers], lambda _: pointer, errors
    )
    if errors.count > before:  # cells that cannot be read
        return None
    raw = raw._replace(rows=complete_rows(raw.dataset, steps))
    if not len(raw.rows):
        errors.add(pointer, f"`drop_rows` drops all of its {count_of(dataset.rows, 'row')}.")
    elif isinstance(raw.dataset, TabularDataset):
        check_missing_values(raw.dataset.table, pointers, declared.targets, (), steps, raw.rows, errors)
    return raw


def _check_same_structure(
    declared: DeclaredData, dataset: Dataset, pointer: str, errors: ErrorCollector
) -> None:
    """Check that a dataset has the columns, or inputs and targets, of the dataset that is divided."""
    if type(dataset) is not type(declared.dataset):
        errors.add(pointer, "The datasets must both be tables or both be tensors; these are one of each.")
        return
    if isinstance(dataset, TabularDataset):
        for name in [*declared.features, *declared.targets]:
            if name not in dataset.table.column_names:
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
    expected_targets = declared.dataset.targets  # type: ignore[union-attr]
    if dataset.targets is None or dataset.targets.shape[1:] != expected_targets.shape[1:]:  # type: ignore[union-attr]
        errors.add(pointer, "The dataset has no targets of the same shape as those of the training data.")


def _encode_whole(encoding: Encoding, raw: RawRows, workspace: Workspace) -> Samples:
    """Encode a dataset that is a whole split."""
    encoded = encode(encoding, raw, targets=True, workspace=workspace)
    assert encoded.targets is not None
    order = torch.arange(len(encoded.targets)) if encoded.mapped else None
    return Samples(encoded.inputs, encoded.targets, order)
