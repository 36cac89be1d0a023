"""A dataset and what is declared about it, as the tensors that a trainer takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.declaration import DATA, Declared, TargetKind, read_declaration
from service.datasets.prepare.encode import Source, encode, source_of
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.fitting import check_kinds, check_targets, fit_encoding
from service.datasets.prepare.missing_values import check_complete, check_some_left, complete_rows
from service.datasets.prepare.split import Parts, check_parts, check_split, split_rows
from service.datasets.prepare.split_keys import rule_key
from service.datasets.prepare.workspace import Memory, Workspace
from service.datasets.rows import Rows, as_tensor
from service.datasets.samples import Samples
from service.datasets.transforms.resolve import Step, resolve
from service.datasets.validation import ErrorCollector, counted
from service.errors import pointer_to
from service.specs.data import DataDeclaration
from service.specs.split import Side


@dataclass(frozen=True, eq=False)
class Prepared:
    """Training data, in the order of the split; validation and test are None where no row is theirs.

    Attributes:
        dropped: how many rows were left out for missing values.
    """

    train: Samples
    validation: Samples | None
    test: Samples | None
    encoding: Encoding
    dropped: int = 0


@dataclass(frozen=True, eq=False)
class Sources:
    """The content that a data section is about.

    Attributes:
        dataset: what is split.
        others: the datasets that are a side of their own.
    """

    dataset: Dataset
    others: Mapping[Side, Dataset] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Divided:
    """What is known before anything is fitted; `others` are the rows of the datasets that are a side."""

    declared: Declared
    steps: Sequence[Step]
    kept: Rows
    parts: Parts
    others: Mapping[Side, Source]


def divide(
    sources: Sources, data: DataDeclaration, target_kind: TargetKind, input_names: Sequence[str] | None = None
) -> Mapping[Side, torch.Tensor]:
    """Only the row numbers of each side, int64 [n], of data that `prepare` finds nothing against."""
    divided = _divide(sources, data, target_kind, ErrorCollector(), input_names)
    return divided.parts._asdict() | {  # type: ignore[return-value]  # the sides' names
        side: as_tensor(source.rows) for side, source in divided.others.items()
    }


def prepare(
    sources: Sources,
    data: DataDeclaration,
    target_kind: TargetKind,
    input_names: Sequence[str] | None = None,
    workspace: Workspace | None = None,
) -> Prepared:
    """Split, fit the transforms on the training rows, and encode.

    Args:
        sources: the content that `data` declares or refers to.
        data: the data section of a job.
        target_kind: what the loss takes.
        input_names: what the model calls its inputs; where it has several, the data's have the same names.
        workspace: where to put the inputs; default: in memory.

    Raises:
        InvalidRequest: with every error of the data section, pointers below `#/data`.
    """
    errors = ErrorCollector()
    workspace = workspace or Memory()
    divided = _divide(sources, data, target_kind, errors, input_names)
    declared, kept, parts = divided.declared, divided.kept, divided.parts
    encoding = fit_encoding(declared, target_kind, divided.steps, kept, parts.train, errors)
    errors.raise_if_any()
    encoded = encode(
        encoding,
        Source(declared.dataset, kept, declared.places.__getitem__, errors),
        targets=True,
        workspace=workspace,
    )
    assert encoded.targets is not None
    check_targets(declared, encoding, target_kind, encoded.targets, errors)
    others = {side: _other(encoding, source, workspace) for side, source in divided.others.items()}
    for side, other in others.items():
        check_targets(declared, encoding, target_kind, other.targets, errors, _place(side))
    errors.raise_if_any()
    whole = Samples(encoded.inputs, encoded.targets)

    def part(rows: torch.Tensor) -> Samples | None:
        if not len(rows):
            return None
        positions = rows if isinstance(kept, range) else torch.searchsorted(kept, rows)
        return Samples(whole.inputs, whole.targets, positions) if encoded.to_gather else whole.take(positions)

    train = part(parts.train)
    assert train is not None
    return Prepared(
        train=train,
        validation=others.get("validation") or part(parts.validation),
        test=others.get("test") or part(parts.test),
        encoding=encoding,
        dropped=sum(
            dataset.rows - len(rows)
            for dataset, rows in [
                (declared.dataset, kept),
                *((source.dataset, source.rows) for source in divided.others.values()),
            ]
        ),
    )


def _divide(
    sources: Sources,
    data: DataDeclaration,
    target_kind: TargetKind,
    errors: ErrorCollector,
    input_names: Sequence[str] | None,
) -> _Divided:
    """Everything that can be said, and found wrong, without reading the values of all columns."""
    declared = read_declaration(sources.dataset, data, errors, input_names)
    steps = resolve(data.transforms, declared.columns(), errors)
    check_kinds(declared, target_kind, steps, errors)
    kept = complete_rows(declared.dataset, steps)
    check_some_left(steps, kept, declared.dataset.rows, errors)
    check_split(data.split, declared.dataset.rows, len(kept), errors)
    if isinstance(declared.dataset, TabularDataset):
        names = [*declared.features, *declared.targets]
        places = {name: declared.places[name] for name in names}
        check_complete(declared.dataset.table, places, declared.targets, steps, kept, errors)
    key = rule_key(data.split, declared.dataset, kept, errors)
    others = {
        side: _other_source(declared, dataset, side, steps, errors)
        for side, dataset in sources.others.items()
    }
    errors.raise_if_any()
    parts = split_rows(data.split, kept, key)
    check_parts(data.split, parts, errors)
    errors.raise_if_any()
    there = {side: source for side, source in others.items() if source is not None}
    return _Divided(declared, steps, kept, parts, there)


def _place(side: Side) -> str:
    return pointer_to(DATA, "split", f"{side}_dataset_id")


def _check_other(declared: Declared, dataset: Dataset, side: Side, errors: ErrorCollector) -> None:
    """Note what a dataset that is a side of its own lacks."""
    place = _place(side)
    if type(dataset) is not type(declared.dataset):
        errors.add(place, "Both datasets are tables, or both are tensors: these are one of each.")
        return
    if isinstance(dataset, TabularDataset):
        for name in [*declared.features, *declared.targets]:
            if name not in dataset.table.column_names:
                errors.add(place, f"The dataset has no column `{name}`.")
        return
    for name in declared.groups:
        if name not in dataset.inputs:
            errors.add(place, f"The dataset has no input `{name}`.")
        elif dataset.inputs[name].shape[1:] != declared.dataset.inputs[name].shape[1:]:  # type: ignore[union-attr]
            errors.add(place, f"The samples of `{name}` have another shape.")
    wanted = declared.dataset.targets  # type: ignore[union-attr]
    if dataset.targets is None or dataset.targets.shape[1:] != wanted.shape[1:]:  # type: ignore[union-attr]
        errors.add(place, "The dataset has no targets of the same shape.")


def _other_source(
    declared: Declared, dataset: Dataset, side: Side, steps: Sequence[Step], errors: ErrorCollector
) -> Source | None:
    """The rows of a dataset that is a side of its own; None where errors were noted."""
    place, before = _place(side), errors.count
    _check_other(declared, dataset, side, errors)
    if errors.count > before:
        return None
    places = dict.fromkeys([*declared.features, *declared.targets], place)
    source = source_of(declared.types(), dataset, [*places], lambda _: place, errors)
    if errors.count > before:  # cells that can't be read
        return None
    source = source._replace(rows=complete_rows(source.dataset, steps))
    if not len(source.rows):
        errors.add(place, f"`drop_rows` leaves none of its {counted(dataset.rows, 'row')}.")
    elif isinstance(source.dataset, TabularDataset):
        check_complete(source.dataset.table, places, declared.targets, steps, source.rows, errors)
    return source


def _other(encoding: Encoding, source: Source, workspace: Workspace) -> Samples:
    """A dataset that is a side of its own, encoded."""
    encoded = encode(encoding, source, targets=True, workspace=workspace)
    assert encoded.targets is not None
    order = torch.arange(len(encoded.targets)) if encoded.to_gather else None
    return Samples(encoded.inputs, encoded.targets, order)
