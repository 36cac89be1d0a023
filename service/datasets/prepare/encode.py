"""Raw data to the model's tensors, by an encoding: the same way for training and for predictions.

Rows are encoded some at a time and written in place, so that a mapped dataset may be larger than memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.prepare.encoding import TARGETS, Encoding
from service.datasets.prepare.workspace import Layout, Memory, Workspace
from service.datasets.rows import Rows, rows_of
from service.datasets.sources.casts import cast
from service.datasets.sources.columns import NUMBER, TEXT
from service.datasets.sources.json import read_json
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import Values, as_array
from service.datasets.validation import Cells, ErrorCollector, shown
from service.errors import pointer_to
from service.specs.base import did_you_mean

NamePlace = Callable[[str], str]
"""The pointer of a column or an input in the request."""
CellPlace = Callable[[str, int], str]
"""The pointer of the cell of a column in a row."""

# A slice is this many rows, or fewer where they are wide: it is held in memory two or three times.
ROWS_AT_ONCE = 65_536
SLICE_BYTES = 8 * 2**20
LARGEST_WHOLE = 2**53  # what a double holds exactly

Body = Mapping[str, Any] | Dataset


class Source(NamedTuple):
    """Data whose names and shapes are known to fit an encoding, and how errors about them are told.

    Attributes:
        dataset: its columns have the encoding's types.
        rows: the numbers of the rows to encode.
        place: the pointer of a column, an input or `targets`.
        errors: where cells that can't be encoded are noted.
        cell: the pointer of a cell, where the request holds the cells.
    """

    dataset: Dataset
    rows: Rows
    place: NamePlace
    errors: ErrorCollector
    cell: CellPlace | None = None

    def slices(self, size: int = ROWS_AT_ONCE) -> Iterator["Source"]:
        """The same, so many rows at a time."""
        for start in range(0, len(self.rows), size):
            yield self._replace(rows=self.rows[start : start + size])

    def cells(self, name: str) -> Cells:
        """The cells of a column, or the samples of a tensor."""
        cell = None if self.cell is None else partial(self.cell, name)
        return Cells(name, self.place(name), self.errors, self.rows, cell)


class Encoded(NamedTuple):
    """The model's tensors, one for each input, and the targets where they were asked for.

    Attributes:
        to_gather: whether batches are to be gathered of them, see `workspace.Space`.
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor | None
    to_gather: bool


def encode(
    encoding: Encoding,
    source: Source,
    inputs: bool = True,
    targets: bool = False,
    workspace: Workspace | None = None,
) -> Encoded:
    """Encode rows, in their order; what can't be encoded is noted in the source's errors.

    Args:
        encoding: how.
        source: what.
        inputs: whether to encode the inputs: float32 or int64 [n, …].
        targets: whether to encode the targets: int64 [n, …] of class indices, else float32 [n, …].
        workspace: where to put the inputs; default: in memory. Targets always are in memory.
    """
    rows, names = len(source.rows), encoding.input_names if inputs else ()
    shapes = dict(zip(encoding.input_names, encoding.sample_shapes, strict=True))
    layouts = [Layout((rows, *shapes[name]), encoding.dtype(name)) for name in names]
    space = (workspace or Memory()).allocate(layouts)
    encoded_targets = (
        torch.empty(rows, *encoding.target_shape, dtype=_target_dtype(encoding)) if targets else None
    )
    start = 0
    size = min(ROWS_AT_ONCE, max(1, SLICE_BYTES // max(1, encoding.sample_bytes)))
    for part in source.slices(size):
        for number, name in enumerate(names):
            space.write(number, start, _input(encoding, name, part))
        if encoded_targets is not None:
            encoded_targets[start : start + len(part.rows)] = _targets(encoding, part)
        start += len(part.rows)
    return Encoded(tuple(space.tensors), encoded_targets, space.to_gather)


def _target_dtype(encoding: Encoding) -> torch.dtype:
    return torch.int64 if encoding.classes is not None and not encoding.is_binary else torch.float32


def _input(encoding: Encoding, name: str, source: Source) -> torch.Tensor:
    """Some rows of an input, of its type."""
    dtype = encoding.dtype(name)
    if encoding.groups:
        return _columns(encoding, encoding.groups[name], source, dtype)
    assert isinstance(source.dataset, TensorDataset)
    values = tensor_values(source.dataset, name, source.rows)
    if transforms := encoding.transforms_of(name):
        values = pipeline.apply(transforms, values.double(), source.cells(name))
    return _of_dtype(values, dtype, source.cells(name))


def _columns(encoding: Encoding, names: Sequence[str], source: Source, dtype: torch.dtype) -> torch.Tensor:
    """[n, k] of the columns, each transformed."""
    encoded = []
    for name, values in _raw_columns(encoding, names, source):
        cells = source.cells(name)
        values = pipeline.apply(encoding.transforms_of(name), values, cells)  # noqa: PLW2901 - from raw to encoded
        values = _of_dtype(values, dtype, cells)  # noqa: PLW2901
        encoded.append(values if values.dim() > 1 else values[:, None])
    return torch.cat(encoded, dim=1)


def _raw_columns(encoding: Encoding, names: Sequence[str], source: Source) -> Iterator[tuple[str, Values]]:
    """The columns by name, of a table, or of raw rows [n, k] of an input's features."""
    if isinstance(source.dataset, TabularDataset):
        for name in names:
            yield name, values_of(rows_of(source.dataset.table[name], source.rows))
        return
    (input_name,) = (name for name, columns in encoding.groups.items() if columns == tuple(names))
    rows = tensor_values(source.dataset, input_name, source.rows).double()
    yield from zip(names, rows.unbind(dim=1), strict=True)


def values_of(column: pa.ChunkedArray) -> Values:
    """A column as transforms take it: text, or numbers of which a missing one is NaN."""
    if column.type == TEXT:
        combined: pa.Array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
        return combined
    return torch.tensor(column.cast(NUMBER).to_numpy())


def tensor_values(dataset: TensorDataset, name: str, rows: Rows) -> torch.Tensor:
    """Some samples of an input or of `targets`, as they are."""
    tensor = dataset.targets if name == TARGETS else dataset.inputs[name]
    assert tensor is not None
    chosen = tensor[rows.start : rows.stop] if isinstance(rows, range) else tensor[rows.numpy()]
    return torch.tensor(chosen)


def _of_dtype(values: torch.Tensor, dtype: torch.dtype, cells: Cells) -> torch.Tensor:
    """The values as float32 or int64; missing ones and those that it can't hold are noted."""
    if not values.is_floating_point():
        return values.to(dtype)
    if dtype is torch.float32:
        rounded = values.float()
        held, problem = rounded.isfinite(), "is too large for float32 (3.4e38)"
    else:
        rounded = values
        held = (values == values.floor()) & (values.abs() < LARGEST_WHOLE)
        problem = "is no whole number, and int64 is asked for"
    if not held.all():
        missing = values.isnan()
        cells.note(_any_of_row(missing), lambda _: "is missing, and no `impute` of the job fills it")
        cells.note(_any_of_row(~held & ~missing), lambda _: problem)
    return rounded.to(dtype)


def _any_of_row(bad: torch.Tensor) -> torch.Tensor:
    return bad.reshape(len(bad), -1).any(dim=1)


def _targets(encoding: Encoding, source: Source) -> torch.Tensor:
    """Some rows of the targets: indices of classes, 0 and 1 of a binary target, or values."""
    if isinstance(source.dataset, TensorDataset):
        targets = tensor_values(source.dataset, TARGETS, source.rows)
        if encoding.classes is not None:
            return _class_indices(encoding, pa.array(targets.flatten().numpy()), source, TARGETS).reshape(
                targets.shape
            )
        if transforms := encoding.transforms_of(TARGETS):
            targets = pipeline.apply(transforms, targets.double(), source.cells(TARGETS))
        return _of_dtype(targets, torch.float32, source.cells(TARGETS))
    if encoding.classes is None:
        return _columns(encoding, encoding.targets, source, torch.float32)
    (name,) = encoding.targets
    ((_, values),) = _raw_columns(encoding, [name], source)
    indices = _class_indices(encoding, as_array(values), source, name)
    return indices[:, None].float() if encoding.is_binary else indices


def _class_indices(encoding: Encoding, labels: pa.Array, source: Source, name: str) -> torch.Tensor:
    """int64, the index of each label; labels that the training didn't know are noted."""
    classes = encoding.classes or ()
    values: Sequence[Any] = classes
    if labels.type != TEXT:
        exact = pa.types.is_integer(labels.type) and all(isinstance(label, int) for label in classes)
        labels = labels.cast(pa.int64() if exact else NUMBER)
        values = list(map(int if exact else float, classes))
    found = pc.index_in(labels, value_set=pa.array(values, labels.type)).fill_null(-1)
    indices = torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))
    per_row = len(indices) // len(source.rows)
    names = ", ".join(map(shown, classes[:10]))

    def problem(position: int) -> str:
        label = labels[position * per_row].as_py()
        if label is None:
            return "is missing"
        return f"is {shown(label)}, which is no class of the training data: they are {names}"

    source.cells(name).note(_any_of_row((indices < 0).reshape(len(source.rows), -1)), problem)
    return indices.clamp(min=0)


class _Received(NamedTuple):
    """Data for predictions: `container` is the pointer of what holds its columns, rows or inputs."""

    dataset: Dataset
    container: str
    place: NamePlace
    cell: CellPlace | None = None


def inputs_source(encoding: Encoding, body: Body, pointer: str = "#") -> Source:
    """The rows of a prediction, to be encoded.

    Args:
        encoding: of the job that trained the model.
        body: a dataset, or JSON with `columns`, `rows` or `inputs`. Columns come in any order and others are
            ignored; `inputs` of a model trained on a table are raw feature rows [B, k].
        pointer: the place of `body` in the request.

    Raises:
        InvalidRequest: columns are missing or can't be read as numbers, or a shape doesn't fit.
    """
    received, errors = _read(body, pointer, encoding.features), ErrorCollector()
    _check_inputs(encoding, received, errors)
    return _received_source(encoding, received, encoding.features, errors)


def labelled_source(encoding: Encoding, body: Body, pointer: str = "#") -> Source:
    """The rows of an evaluation, inputs and targets, to be encoded.

    Args:
        encoding, body, pointer: as for `inputs_source`; `targets` go with `inputs`.

    Raises:
        InvalidRequest: columns or targets are missing or can't be read, or a shape doesn't fit.
    """
    names = [*encoding.features, *encoding.targets]
    received, errors = _read(body, pointer, names), ErrorCollector()
    _check_inputs(encoding, received, errors)
    _check_targets(encoding, received, pointer, errors)
    return _received_source(encoding, received, names, errors)


def _received_source(
    encoding: Encoding, received: _Received, names: Sequence[str], errors: ErrorCollector
) -> Source:
    """The rows of a prediction or an evaluation: `names` are the features, and the targets if any.

    Raises:
        InvalidRequest: a column is missing or not of its type, with what is wrong in the others.
    """
    source = source_of(encoding.types, received.dataset, names, received.place, errors, received.cell)
    if errors.count and isinstance(source.dataset, TabularDataset):
        readable, targets = set(source.dataset.table.column_names), names[len(encoding.features) :]
        for part in source.slices():
            for name in encoding.features:
                if name in readable:
                    _columns(encoding, [name], part, torch.float32)
            if targets and readable.issuperset(targets):
                _targets(encoding, part)
    errors.raise_if_any()
    return source


def source_of(
    types: Mapping[str, str],
    dataset: Dataset,
    names: Sequence[str],
    place: NamePlace,
    errors: ErrorCollector,
    cell: CellPlace | None = None,
) -> Source:
    """All rows of a dataset, of a table the columns `names`, read as of these types.

    Columns that are not there are left out, and so are those with cells that can't be read, which are noted.
    """
    source = Source(dataset, range(dataset.rows), place, errors, cell)
    if not isinstance(dataset, TabularDataset):
        return source
    present, columns = set(dataset.table.column_names), dict[str, pa.ChunkedArray]()
    for name in names:
        if name in present:
            before = errors.count
            column = cast(dataset.table[name], types[name], source.cells(name))
            columns |= {name: column} if errors.count == before else {}
    return source._replace(dataset=TabularDataset(pa.table(columns)))


def _read(body: Body, pointer: str, taken: Sequence[str]) -> _Received:
    if isinstance(body, TabularDataset):
        container = pointer_to(pointer, "columns")
        return _of_columns(body, container)
    if isinstance(body, TensorDataset):
        return _Received(body, pointer, lambda name: pointer)
    dataset = read_json(body, pointer, taken)
    if isinstance(dataset, TensorDataset):
        container, targets = pointer_to(pointer, "inputs"), pointer_to(pointer, TARGETS)
        return _Received(dataset, container, lambda name: targets if name == TARGETS else container)
    if "rows" in body:
        container = pointer_to(pointer, "rows")
        return _Received(
            dataset, container, lambda name: container, lambda name, row: pointer_to(container, row, name)
        )
    return _of_columns(dataset, pointer_to(pointer, "columns"))


def _of_columns(dataset: TabularDataset, container: str) -> _Received:
    return _Received(dataset, container, partial(pointer_to, container), partial(pointer_to, container))


def _check_inputs(encoding: Encoding, received: _Received, errors: ErrorCollector) -> None:
    if isinstance(received.dataset, TabularDataset):
        _check_names(encoding.features, received.dataset, received.container, errors)
    else:
        _check_shapes(encoding, received.dataset, received.container, errors)


def _check_targets(encoding: Encoding, received: _Received, pointer: str, errors: ErrorCollector) -> None:
    if isinstance(received.dataset, TabularDataset):
        _check_names(encoding.targets, received.dataset, received.container, errors)
    elif received.dataset.targets is None or encoding.features:
        errors.add(pointer, "Give `targets` beside `inputs`, or columns that hold them.")
    elif received.dataset.targets.shape[1:] != encoding.target_shape:
        found, wanted = list(received.dataset.targets.shape), _shape_text(encoding.target_shape)
        errors.add(received.place(TARGETS), f"The targets have shape {found}; the model's are {wanted}.")


def _check_names(names: Sequence[str], dataset: TabularDataset, pointer: str, errors: ErrorCollector) -> None:
    present = dataset.table.column_names
    if not names:
        errors.add(pointer, "The model was trained on tensors: send `inputs`.")
    for name in names:
        if name not in present:
            hint = did_you_mean(name, [other for other in present if other not in names])
            errors.add(pointer, f"The column `{name}` is missing{hint or '.'}")


def _check_shapes(encoding: Encoding, dataset: TensorDataset, pointer: str, errors: ErrorCollector) -> None:
    """Note inputs whose names or shapes are not the model's; of a table's model they are raw feature rows."""
    shapes = dict(zip(encoding.input_names, encoding.sample_shapes, strict=True))
    shapes |= {name: (len(columns),) for name, columns in encoding.groups.items()}
    if dataset.inputs.keys() != shapes.keys():
        found, wanted = ", ".join(dataset.inputs), ", ".join(shapes)
        errors.add(pointer, f"The model's inputs are called {wanted}; these are called {found}.")
        return
    for name in encoding.features:
        if encoding.types[name] == "categorical":
            errors.add(pointer, f"`{name}` is text: send `columns` or `rows`.")
    for name, shape in shapes.items():
        found_shape = dataset.inputs[name].shape
        columns = f" ({', '.join(encoding.groups[name])})" if encoding.groups else ""
        if found_shape[1:] != shape:
            detail = f"`{name}` has shape {list(found_shape)}; the model takes {_shape_text(shape)}{columns}."
            errors.add(pointer, detail)


def _shape_text(sample_shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['B', *map(str, sample_shape)])}]"
