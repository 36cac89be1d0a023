"""Warnings of features and targets that are valid, but from which a model probably can't learn."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from service.datasets.dataset import TabularDataset
from service.datasets.prepare.classes import quote_labels
from service.datasets.prepare.declared_data import DeclaredData
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.prepare.raw_rows import RawRows
from service.datasets.prepare.raw_values import tensor_values
from service.datasets.rows import Rows, as_tensor, select_rows
from service.datasets.sources.cell_texts import are_numbers
from service.datasets.sources.columns import COLUMN_TYPES, TEXT
from service.datasets.transforms import pipeline
from service.datasets.transforms.categories import FittedOrdinal
from service.datasets.transforms.resolve import Step
from service.datasets.validation import ErrorCollector, count_of
from service.errors import FieldError
from service.specs.transforms import Ordinal

# Above this magnitude a feature dominates features of usual scale, and common learning rates diverge.
LARGE = 1000.0
# Limits of the sample in which values are compared.
_SAMPLE_ROWS, _SAMPLE_BYTES = 2000, 2 * 2**20
# Share of the different values that may become equal in float32: random doubles do so by chance.
_COLLAPSED_SHARE = 0.01
_MAX_NAMED = 5  # columns in one message
_WIDE_TYPES = (torch.float64, torch.int64, torch.int32)  # float32 represents the values of other types
# Transforms that give different numbers for different numbers, except for rounding.
_INJECTIVE = {"impute", "log1p", "minmax", "scale", "standardize"}


def standardize_advice(names: Sequence[str]) -> str:
    """Return the advice to standardize columns, or the inputs of tensors."""
    quoted = ", ".join(f'"{name}"' for name in names[:_MAX_NAMED])
    more = ", …" if len(names) > _MAX_NAMED else ""
    return f'add {{"type": "standardize", "columns": [{quoted}{more}]}} to `data.transforms`'


def feature_warnings(
    declared: DeclaredData, encoding: Encoding, train: Rows, extremes: Sequence[Tensor]
) -> list[FieldError]:
    """Find columns that are mostly missing, constant, indistinguishable in float32, or of a large magnitude.

    Args:
        declared: The dataset and its declaration.
        encoding: The fitted encoding.
        train: Row numbers of the training rows.
        extremes: For each input its smallest and largest values, [2, …].
    """
    found = _Warnings(declared)
    sample_rows = min(_SAMPLE_ROWS, 1 + _SAMPLE_BYTES // max(1, encoding.sample_bytes))
    collapsed = _collapsed(declared, encoding, as_tensor(train)[:sample_rows])
    if isinstance(declared.dataset, TabularDataset):
        found.add(
            _mostly_missing(declared.dataset, [*declared.features, *declared.targets]),
            "are missing in more than half of the rows, so that little of them can be learned",
            "is missing in {}, so that little of it can be learned",
        )
        found.add(
            _constant(declared, as_tensor(train)),
            "have a single value in the training rows, so that nothing is learned from them; leave them out, "
            "or change the split",
            "is {} in every training row, so that nothing is learned from it; leave it out, or change the "
            "split",
        )
    advice = standardize_advice([*collapsed])
    found.add(
        collapsed,
        f"have different values that are equal in float32, the precision of the model; {advice}",
        f"has {{}} in float32, the precision of the model; {advice}",
    )
    large = {
        name: f"{largest.magnitude:.3g}"
        for name, largest in largest_values(encoding, extremes).items()
        if largest.magnitude > LARGE and name not in collapsed
    }
    advice = standardize_advice([*large])
    found.add(
        large,
        f"have values of a large magnitude, with which a training may diverge or hardly learn; {advice}",
        f"has values up to a magnitude of {{}}, with which a training may diverge or hardly learn; {advice}",
    )
    return found.listed


def order_warnings(steps: Sequence[Step], encoding: Encoding) -> list[FieldError]:
    """Warn of text whose categories are numbered in the order of the alphabet, because none is declared.

    The order of two categories, and of indices of an int64 input, for an embedding, does not matter.

    Args:
        steps: Transforms of each column.
        encoding: The fitted encoding.
    """
    found = []
    dtypes = {column: encoding.dtype(name) for name, columns in encoding.groups.items() for column in columns}
    fitted = {each.column: each for each in encoding.transforms if isinstance(each, FittedOrdinal)}
    for step in steps:
        ordinal = fitted.get(step.column)
        if ordinal is None or not isinstance(step.transform, Ordinal):
            continue
        texts = [category for category in ordinal.categories if isinstance(category, str)]
        if step.transform.categories is not None or len(texts) < 3 or _are_numbers(texts):
            continue
        if dtypes[step.column] is torch.int64:
            continue
        detail = (
            f"The text of `{step.column}` has no order of its own: its numbers from 0 are those of the "
            f"alphabet, {quote_labels(texts)}. List `categories` in their order, or use `one_hot`."
        )
        found.append(FieldError(step.pointer, detail))
    return found


def _are_numbers(texts: Sequence[str]) -> bool:
    return bool(pc.all(are_numbers(pa.array(texts, TEXT))).as_py())


class _Warnings:
    """Collects one warning of each kind, which names its columns."""

    def __init__(self, declared: DeclaredData) -> None:
        self._pointers = declared.pointers
        self.listed: list[FieldError] = []

    def add(self, columns: Mapping[str, str], several: str, one: str) -> None:
        """Add a warning, unless there are no columns.

        Args:
            columns: What was found, by column.
            several: Predicate for several columns.
            one: Predicate for one column, with `{}` for what was found.
        """
        if not columns:
            return
        names = [f"`{name}`" for name in columns]
        first, found = next(iter(columns.items()))
        predicate = one.replace("{}", found) if len(names) == 1 else several
        self.listed.append(FieldError(self._pointers[first], f"{_listed(names)} {predicate}."))


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MAX_NAMED:
        return f"{', '.join(names[:_MAX_NAMED])} and {count_of(len(names) - _MAX_NAMED, 'more column')}"
    return " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])


def _mostly_missing(dataset: TabularDataset, names: Sequence[str]) -> dict[str, str]:
    missing = {name: dataset.table[name].null_count for name in names}
    return {
        name: f"{count} of {count_of(dataset.rows, 'row')}"
        for name, count in missing.items()
        if 2 * count > dataset.rows
    }


def _constant(declared: DeclaredData, train: Tensor) -> dict[str, str]:
    """Find features with a single value in several training rows, int64 [n]."""
    assert isinstance(declared.dataset, TabularDataset)
    if len(train) < 2:
        return {}
    found = {}
    for name in declared.features:
        column = declared.dataset.table[name]
        # Most columns differ in the first rows already.
        if all(len(select_rows(column, rows).unique()) == 1 for rows in (train[:100], train)):
            found[name] = _shown(column[int(train[0])].as_py())
    return found


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else f"`{value}`"


def _collapsed(declared: DeclaredData, encoding: Encoding, rows: Tensor) -> dict[str, str]:
    """Find numeric columns or tensors of which different values become equal in float32.

    Args:
        declared: The dataset and its declaration.
        encoding: The fitted encoding.
        rows: Numbers of the rows to compare, int64 [n].
    """
    raw = RawRows(declared.dataset, rows, declared.pointers.__getitem__, ErrorCollector())
    found = {}
    for name, values, encoded in _numbers(declared, encoding, raw):
        before, after = len(np.unique(values)), len(np.unique(encoded))
        if before - after > _COLLAPSED_SHARE * before:
            found[name] = f"{before} different values that become {after}"
    return found


def _numbers(
    declared: DeclaredData, encoding: Encoding, raw: RawRows
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Iterate over numeric columns or tensors: the name, its values [n], and what they become in float32."""
    encoded = encode(encoding, raw, targets=True)
    assert encoded.targets is not None
    blocks = list(zip(encoding.input_names, encoded.inputs, strict=True))
    columns = [(name, encoding.groups.get(name, ()), block) for name, block in blocks]
    if encoding.classes is None:
        columns.append((TARGETS, encoding.targets, encoded.targets))
    for input_name, names, block in columns:
        if not block.is_floating_point():
            continue
        if not isinstance(declared.dataset, TabularDataset):
            values = tensor_values(declared.dataset, input_name, raw.rows)
            if values.dtype in _WIDE_TYPES and _is_injective(encoding, input_name):
                yield input_name, values.flatten().numpy(), block.flatten().numpy()
            continue
        position = 0
        for name in names:
            column = select_rows(declared.dataset.table[name], raw.rows)
            if COLUMN_TYPES[column.type] == "numeric" and _is_injective(encoding, name):
                present = pc.is_valid(column).to_numpy()
                yield name, column.drop_null().to_numpy(), block[:, position].numpy()[present]
            position += len(pipeline.titles(name, encoding.transforms_of(name)))


def _is_injective(encoding: Encoding, name: str) -> bool:
    return {transform.type for transform in encoding.transforms_of(name)} <= _INJECTIVE


class Largest(NamedTuple):
    """The value of the largest magnitude of a column or an input.

    Attributes:
        magnitude: Its absolute value.
        position: Position of its row.
    """

    magnitude: float
    position: int


def largest_values(
    encoding: Encoding, values: Sequence[Tensor], targets: Tensor | None = None
) -> dict[str, Largest]:
    """Find the largest magnitude of each column, or of each input and the targets of tensor data.

    Columns of a fixed range (such as indices of categories), inputs of int64 and class labels are left out.

    Args:
        encoding: The encoding.
        values: Values of each input, [n, …].
        targets: Targets, [n, …]; None to find those of the inputs only.
    """
    found: dict[str, Largest] = {}
    for name, block in zip(encoding.input_names, values, strict=True):
        if not block.is_floating_point():
            continue
        if not encoding.groups:
            found[name] = _largest(block)
            continue
        ranges, position = encoding.ranges(name), 0
        for column in encoding.groups[name]:
            end = position + len(pipeline.titles(column, encoding.transforms_of(column)))
            if unlimited := [each for each in range(position, end) if each not in ranges]:
                found[column] = _largest(block[..., unlimited])
            position = end
    if targets is None or encoding.classes is not None:
        return found
    if not encoding.targets:
        return found | {TARGETS: _largest(targets)}
    return found | {name: _largest(targets[..., number]) for number, name in enumerate(encoding.targets)}


def _largest(values: Tensor) -> Largest:
    by_row = values.reshape(len(values), -1).abs().amax(dim=1)  # [n, …] -> [n]
    position = int(by_row.argmax())
    return Largest(by_row[position].item(), position)
