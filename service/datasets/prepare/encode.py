"""Encoding of raw data as the model's tensors, the same for training, predictions and evaluations.

Rows are encoded a slice at a time and written into allocated tensors, so a mapped dataset may be larger than
memory.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from service.datasets.dataset import Dataset, TabularDataset, Tensor, TensorDataset
from service.datasets.prepare.encoding import IGNORED, TARGETS, WEIGHTS, Encoding
from service.datasets.prepare.table_reading import TableReading
from service.datasets.prepare.windows import Series, SeriesWindow, sort_series
from service.datasets.prepare.workspace import Layout, MemoryWorkspace, Workspace
from service.datasets.rows import Rows, select_rows
from service.datasets.sources.casts import cast
from service.datasets.sources.columns import DATETIME, INTEGER, NUMBER, TEXT
from service.datasets.sources.json import layout_of, read_json
from service.datasets.transforms import pipeline
from service.datasets.transforms.fitted import Values, as_array, numbers
from service.datasets.transforms.missing import is_missing
from service.datasets.validation import MAX_LISTED, Cells, ErrorCollector, count_of, quote_value
from service.errors import pointer_to
from service.specs.base import did_you_mean
from service.specs.transforms import Label

ColumnPointer = Callable[[str], str]
"""Maps the name of a column, of an input or `targets` to its pointer in the request."""
CellPointer = Callable[[str, int], str]
"""Maps the name of a column and a row number to the pointer of the cell in the request."""

# Limits of a slice. Encoding holds two or three copies of a slice in memory.
MAX_SLICE_ROWS = 65_536
MAX_SLICE_BYTES = 8 * 2**20
# float64 represents every integer of a smaller magnitude exactly.
MAX_EXACT_INTEGER = 2**53

# Ends of the error of a missing value: of a feature, and of a target.
NOT_IMPUTED = ", and the job has no `impute` to fill it"
LEAVE_OUT = ": leave the row out"

Body = Mapping[str, Any] | list[Any] | Dataset


class RawRows(NamedTuple):
    """Rows to encode, with names and shapes that fit the encoding.

    Attributes:
        dataset: A dataset; the columns of a table have the encoding's types.
        rows: Numbers of the rows to encode.
        column_pointer: Pointers of columns, inputs and `targets`.
        errors: Receives an error for each cell that cannot be encoded.
        cell_pointer: Pointers of cells, if the request contains the cells.
        series: If the samples are windows, all rows in the order of their series; `rows` are then the last
            rows of the inputs of the windows.
    """

    dataset: Dataset
    rows: Rows
    column_pointer: ColumnPointer
    errors: ErrorCollector
    cell_pointer: CellPointer | None = None
    series: Series | None = None

    @classmethod
    def of(
        cls,
        reading: TableReading,
        dataset: Dataset,
        names: Sequence[str],
        column_pointer: ColumnPointer,
        errors: ErrorCollector,
        cell_pointer: CellPointer | None = None,
    ) -> "RawRows":
        """Select all rows of a dataset, and cast the columns of a table to their types.

        Args:
            reading: Types of the columns, and formats of texts.
            dataset: A table or tensors.
            names: Columns to keep. A column that the table does not have, or with cells that cannot be read
                (of Arrow's type null) or cast, is omitted.
            column_pointer: Pointers of columns.
            errors: Receives an error for each cell that cannot be cast.
            cell_pointer: Pointers of cells, if the request contains the cells.
        """
        raw = cls(dataset, range(dataset.rows), column_pointer, errors, cell_pointer)
        if not isinstance(dataset, TabularDataset):
            return raw
        columns = dict[str, pa.ChunkedArray]()
        present = {field.name for field in dataset.table.schema if not pa.types.is_null(field.type)}
        for name in names:
            if name in present:
                before = errors.count
                _check_words(dataset, name, reading.words(name), raw.cells(name))
                column = cast(
                    dataset.table[name],
                    reading.types[name],
                    reading.options,
                    raw.cells(name),
                    reading.words(name),
                )
                if errors.count == before:
                    columns[name] = column
        return raw._replace(dataset=TabularDataset(pa.table(columns)))

    def slices(self, size: int = MAX_SLICE_ROWS) -> Iterator["RawRows"]:
        """Iterate over consecutive slices of at most `size` rows."""
        for start in range(0, len(self.rows), size):
            yield self._replace(rows=self.rows[start : start + size])

    def cells(self, name: str) -> Cells:
        """Return the cells of a column, or the samples of a tensor, to report errors about."""
        cell_pointer = None if self.cell_pointer is None else partial(self.cell_pointer, name)
        return Cells(name, self.column_pointer(name), self.errors, self.rows, cell_pointer)


def _check_words(dataset: TabularDataset, name: str, known: Collection[str] | None, cells: Cells) -> None:
    """Refuse missing values of a stored column that may have been a word that the model knows as a value."""
    words = sorted(word for word in known or () if word)
    if words and dataset.reads_gaps and dataset.table[name].null_count:
        missing = torch.from_numpy(dataset.table[name].is_null().to_numpy().copy())
        named = ", ".join(map(quote_value, words))
        cells.add_errors(
            missing,
            lambda _: (
                f"is missing in the stored dataset, which does not tell whether it was {named}, a value to "
                "the model; send the table in the request instead of its id"
            ),
        )


class Encoded(NamedTuple):
    """Encoded rows.

    Attributes:
        inputs: A tensor [n, …] for each input of the model; n rows, or n windows.
        targets: The targets, [n, …]; None if they were not requested.
        weights: The weights, float32 [n]; None if they were not requested.
        mapped: Whether `inputs` are mapped files, see `workspace.Allocation`.
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor | None
    weights: torch.Tensor | None
    mapped: bool


def encode(
    encoding: Encoding,
    raw: RawRows,
    inputs: bool = True,
    targets: bool = False,
    weights: bool = False,
    workspace: Workspace | None = None,
) -> Encoded:
    """Encode rows, in their order; cells that cannot be encoded are added to `raw.errors`.

    Args:
        encoding: Columns, transforms and classes.
        raw: The n rows or windows to encode.
        inputs: Whether to encode the inputs, float32 or int64 [n, …].
        targets: Whether to encode the targets: int64 [n, …] of class indices, otherwise float32 [n, …].
        weights: Whether to encode the weights, float32 [n].
        workspace: Memory for the inputs; by default RAM. Targets and weights are always in RAM.
    """
    if raw.series is not None:
        return _encode_windows(encoding, raw, raw.series, inputs, targets)
    rows, names = len(raw.rows), encoding.input_names if inputs else ()
    shapes = dict(zip(encoding.input_names, encoding.sample_shapes, strict=True))
    layouts = [Layout((rows, *shapes[name]), encoding.dtype(name)) for name in names]
    allocation = (workspace or MemoryWorkspace()).allocate(layouts)
    encoded_targets = (
        torch.empty(rows, *encoding.target_shape, dtype=encoding.target_dtype) if targets else None
    )
    encoded_weights = None
    if weights:
        encoded_weights = encode_weights(encoding.weights or WEIGHTS, raw)
    start = 0
    row_bytes = sum(layout.nbytes for layout in layouts) // max(1, rows)
    size = min(MAX_SLICE_ROWS, max(1, MAX_SLICE_BYTES // max(1, row_bytes)))
    for part in raw.slices(size):
        for index, name in enumerate(names):
            allocation.write(index, start, _encode_input(encoding, name, part))
        if encoded_targets is not None:
            encoded_targets[start : start + len(part.rows)] = _encode_targets(encoding, part)
        start += len(part.rows)
    return Encoded(tuple(allocation.tensors), encoded_targets, encoded_weights, allocation.mapped)


def encode_weights(name: str, raw: RawRows) -> torch.Tensor:
    """Encode the weights of rows; report those that are missing, negative or infinite.

    Args:
        name: Column of numbers or booleans; `weights` for tensors.
        raw: The n rows.

    Returns:
        float32 [n].
    """
    if isinstance(raw.dataset, TensorDataset):
        assert raw.dataset.weights is not None
        values = _rows_of(raw.dataset.weights, raw.rows).double()
    else:
        ((_, column),) = _table_columns([name], raw)
        values = numbers(column)
    cells, encoded = raw.cells(name), values.float()
    remedy = "give every row a weight, where 0 leaves the row out of the loss"
    cells.add_errors(values.isnan(), lambda _: f"is missing; {remedy}")
    cells.add_errors(values < 0, lambda row: f"is {values[row]:g}; a weight must be 0 or more")
    cells.add_errors(encoded.isposinf(), lambda _: "is too large for float32 (3.4e38)")
    return encoded


def _encode_windows(encoding: Encoding, raw: RawRows, series: Series, inputs: bool, targets: bool) -> Encoded:
    """Encode the rows from the first to the last window, and gather the windows."""
    window = encoding.window
    assert window is not None
    first = series.positions(raw.rows) - (window.lags - 1)  # [n]
    start, stop = int(first.min()), int(first.max()) + window.lags + (window.horizon if targets else 0)
    rows = encode(encoding, raw._replace(rows=series.rows[start:stop], series=None), inputs, targets)
    return Encoded(
        tuple(window.input_windows(x)[first - start] for x in rows.inputs),
        None if rows.targets is None else window.target_windows(rows.targets)[first - start],
        weights=None,
        mapped=False,
    )


def _encode_input(encoding: Encoding, name: str, raw: RawRows) -> torch.Tensor:
    """Encode a slice of an input, [b, …] of the input's dtype."""
    dtype = encoding.dtype(name)
    if encoding.groups:
        return _encode_columns(encoding, encoding.groups[name], raw, dtype)
    assert isinstance(raw.dataset, TensorDataset)
    values = tensor_values(raw.dataset, name, raw.rows)
    if transforms := encoding.transforms_of(name):
        values = pipeline.apply(transforms, values.double(), raw.cells(name))
    return _to_dtype(values, dtype, raw.cells(name))


def _encode_columns(
    encoding: Encoding,
    names: Sequence[str],
    raw: RawRows,
    dtype: torch.dtype,
    missing_remedy: str = NOT_IMPUTED,
    keeps_missing: bool = False,
) -> torch.Tensor:
    """Transform columns and join them to [b, k]; a column may become several."""
    encoded = []
    for name, values in _table_columns(names, raw):
        cells = raw.cells(name)
        if encoding.looks_up(name):
            _check_exact(select_rows(raw.dataset.table[name], raw.rows), cells)  # type: ignore[union-attr]
        transformed = pipeline.apply(encoding.transforms_of(name), values, cells)  # [b] or [b, j]
        column = _to_dtype(transformed, dtype, cells, missing_remedy, keeps_missing)
        encoded.append(column if column.dim() > 1 else column[:, None])
    return torch.cat(encoded, dim=1)


def _check_exact(column: pa.ChunkedArray, cells: Cells) -> None:
    """Report integers that float64 does not represent exactly, and that are looked up by their value."""
    if column.type == INTEGER:
        large = pc.or_(pc.greater_equal(column, MAX_EXACT_INTEGER), pc.less_equal(column, -MAX_EXACT_INTEGER))
        mask = torch.from_numpy(large.fill_null(False).to_numpy().copy())
        cells.add_errors(mask, lambda _: "is beyond 2**53, where neighbours are equal to the model")


def _table_columns(names: Sequence[str], raw: RawRows) -> Iterator[tuple[str, Values]]:
    """Iterate over named columns of a table."""
    assert isinstance(raw.dataset, TabularDataset)
    for name in names:
        yield name, values_of(select_rows(raw.dataset.table[name], raw.rows))


def values_of(column: pa.ChunkedArray) -> Values:
    """Convert a column to the values that transforms work on.

    Returns:
        An array of strings or times [n] with nulls, or float64 [n] with NaN for missing values.
    """
    if column.type in (TEXT, DATETIME):
        combined: pa.Array = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
        return combined
    # Integers beyond 2**53 are rounded; the report on the data warns of them.
    return torch.tensor(column.cast(NUMBER, safe=False).to_numpy())


def tensor_values(dataset: TensorDataset, name: str, rows: Rows) -> torch.Tensor:
    """Copy samples of an input or of `targets`, [n, …] of the stored dtype."""
    tensor = dataset.targets if name == TARGETS else dataset.inputs[name]
    assert tensor is not None
    return _rows_of(tensor, rows)


def _rows_of(tensor: Tensor, rows: Rows) -> torch.Tensor:
    chosen = tensor[rows.start : rows.stop] if isinstance(rows, range) else tensor[rows.numpy()]
    return torch.tensor(chosen)


def _to_dtype(
    values: torch.Tensor,
    dtype: torch.dtype,
    cells: Cells,
    missing_remedy: str = NOT_IMPUTED,
    keeps_missing: bool = False,
) -> torch.Tensor:
    """Convert values [b, …] to float32 or int64; report values that are missing or not representable.

    Args:
        values: The values, NaN where they are missing.
        dtype: float32 or int64.
        cells: Receives an error for each row with such a value.
        missing_remedy: End of the error of a missing value.
        keeps_missing: Whether missing values stay NaN, in float32, instead of being reported.
    """
    if not values.is_floating_point():
        return values.to(dtype)
    if dtype is torch.float32:
        converted = values.float()
        valid, problem = converted.isfinite(), "is too large for float32 (3.4e38)"
    else:
        converted = values
        valid = (values == values.floor()) & (values.abs() < MAX_EXACT_INTEGER)
        problem = "is not an integer, and the dtype of the input is int64"
    if not valid.all():
        missing = values.isnan()
        if not keeps_missing:
            cells.add_errors(_any_in_row(missing), lambda _: f"is missing{missing_remedy}")
        cells.add_errors(_any_in_row(~valid & ~missing), lambda _: problem)
    return converted.to(dtype)


def _any_in_row(mask: torch.Tensor) -> torch.Tensor:
    """bool [b, …] -> bool [b]."""
    return mask.reshape(len(mask), -1).any(dim=1)


def _encode_targets(encoding: Encoding, raw: RawRows) -> torch.Tensor:
    """Encode a slice of the targets.

    Returns:
        Class indices int64 [b] (or [b, …] of tensor data), binary targets float32 [b, 1] of 0 and 1, or
        values float32 [b, k] (or [b, …]). If the encoding masks targets, NaN for missing ones.
    """
    if isinstance(raw.dataset, TensorDataset):
        targets = tensor_values(raw.dataset, TARGETS, raw.rows)  # [b, …]
        if encoding.classes is not None:
            labels = pa.array(targets.flatten().numpy())
            class_numbers = _class_numbers(encoding, labels, raw, TARGETS)
            return class_numbers.reshape(targets.shape).to(encoding.target_dtype)
        if transforms := encoding.transforms_of(TARGETS):
            targets = pipeline.apply(transforms, targets.double(), raw.cells(TARGETS))
        return _to_dtype(targets, torch.float32, raw.cells(TARGETS), LEAVE_OUT, encoding.masks_targets)
    if encoding.classes is None:
        columns = [_encode_target(encoding, name, raw) for name in encoding.targets]
        return torch.cat(columns, dim=1)
    (name,) = encoding.targets
    labels = _labels(name, raw)
    class_numbers = _class_numbers(encoding, labels, raw, name)  # [b]
    return _binary(class_numbers, labels) if encoding.is_binary else class_numbers


def _binary(numbers: torch.Tensor, labels: pa.Array) -> torch.Tensor:
    """Convert 0 and 1 [b] to float32 [b, 1], NaN for missing labels, which are reported or masked."""
    return numbers.float().masked_fill(is_missing(labels), torch.nan)[:, None]


def _labels(name: str, raw: RawRows) -> pa.Array:
    """Return a slice of a column of labels, [b]; integers exactly, since float64 equates large neighbours."""
    assert isinstance(raw.dataset, TabularDataset)
    column = select_rows(raw.dataset.table[name], raw.rows)
    return column.combine_chunks() if column.type == INTEGER else as_array(values_of(column))


def _encode_target(encoding: Encoding, name: str, raw: RawRows) -> torch.Tensor:
    """Encode a slice of one of several target columns, of numbers or of two labels, float32 [b, 1]."""
    if name not in encoding.column_classes:
        return _encode_columns(encoding, [name], raw, torch.float32, LEAVE_OUT, encoding.masks_targets)
    labels = _labels(name, raw)
    found = _find_labels(encoding, labels, encoding.column_classes[name], raw, name)
    return _binary(found, labels)


def target_values(encoding: Encoding, raw: RawRows) -> torch.Tensor:
    """Return numeric targets before their transforms, float64 [n, k], [n, horizon, k] or [n, …]."""
    if isinstance(raw.dataset, TensorDataset):
        return tensor_values(raw.dataset, TARGETS, raw.rows).double()
    if (series := raw.series) is not None and encoding.window is not None:
        following = series.positions(raw.rows) + 1
        rows = [series.row_numbers(following + step) for step in range(encoding.window.horizon)]
        steps = [target_values(encoding, raw._replace(rows=each, series=None)) for each in rows]
        return torch.stack(steps, dim=1).reshape(len(raw.rows), *encoding.batch_target_shape)
    columns = [numbers(values) for _, values in _table_columns(encoding.targets, raw)]
    return torch.stack(columns, dim=1)


def _class_numbers(encoding: Encoding, labels: pa.Array, raw: RawRows, name: str) -> torch.Tensor:
    """Encode labels as the outputs of their classes, and the label that is no class as `IGNORED`.

    Args:
        encoding: The encoding, which has the classes.
        labels: Labels of the slice, [b · m] with m labels for each row, row after row.
        raw: The slice of b rows.
        name: Target column, or `targets`.

    Returns:
        int64 [b · m]; any number in place of an unknown label, and of a missing one if targets are masked.
    """
    ignored = () if encoding.ignored is None else (encoding.ignored,)
    found = _find_labels(encoding, labels, encoding.values_by_class, raw, name, ignored)
    return torch.tensor([*encoding.outputs_by_class, *[IGNORED] * len(ignored)])[found]


def _find_labels(
    encoding: Encoding,
    labels: pa.Array,
    classes: Sequence[Label],
    raw: RawRows,
    name: str,
    others: Sequence[Label] = (),
) -> torch.Tensor:
    """Look up labels in `classes`, then in `others`; report labels that are in neither.

    Returns:
        Positions, int64 [b · m]; 0 in place of an unknown label.
    """
    known: Sequence[Any] = [*classes, *others]
    if labels.type != TEXT:
        # Compare integers as int64: float64 would equate neighbours beyond 2**53.
        exact = pa.types.is_integer(labels.type) and all(isinstance(label, int) for label in known)
        labels = labels.cast(pa.int64() if exact else NUMBER)
        known = list(map(int if exact else float, known))
    found = pc.index_in(labels, value_set=pa.array(known, labels.type)).fill_null(-1)
    positions = torch.from_numpy(found.to_numpy(zero_copy_only=False).astype(np.int64))
    per_row = len(positions) // len(raw.rows)
    names = ", ".join(map(quote_value, classes[:10]))

    def problem(position: int) -> str:
        label = labels[position * per_row].as_py()
        if label is None:
            return f"is missing{LEAVE_OUT}"
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        return f"is {quote_value(label)}, which is none of the model's classes: {names}"

    unknown = positions < 0
    if encoding.masks_targets:
        unknown &= ~is_missing(labels)
    raw.cells(name).add_errors(_any_in_row(unknown.reshape(len(raw.rows), -1)), problem)
    return positions.clamp(min=0)


def has_weights(encoding: Encoding, dataset: Dataset) -> bool:
    """Return whether labelled rows have weights: their own, or the column that the training had."""
    if isinstance(dataset, TensorDataset):
        return dataset.weights is not None
    return encoding.weights in dataset.table.column_names


class _RequestData(NamedTuple):
    """Data of a prediction or an evaluation, as received.

    Attributes:
        dataset: The data.
        container: Pointer of the object or list that contains the columns, rows or inputs.
        column_pointer: Pointers of columns, inputs and `targets`.
        cell_pointer: Pointers of cells, if the request contains the cells.
    """

    dataset: Dataset
    container: str
    column_pointer: ColumnPointer
    cell_pointer: CellPointer | None = None


def prediction_rows(encoding: Encoding, body: Body, pointer: str = "#") -> RawRows:
    """Read the rows of a prediction.

    Args:
        encoding: Encoding of the job that trained the model.
        body: A dataset, or JSON in a form of `read_json`. Columns may be in any order, and other columns are
            ignored. For a model trained on a table, `inputs` are raw feature rows [B, k].
        pointer: Location of `body` in the request.

    Raises:
        InvalidRequest: Columns are missing or cannot be read as their type, or a shape does not fit.
    """
    errors = ErrorCollector()
    received = _read(encoding, body, pointer, encoding.read_columns, errors)
    _check_inputs(encoding, received, errors)
    raw = _cast_received(encoding, received, encoding.features, errors)
    return raw if encoding.window is None else _windows(encoding.window, raw, received.container)


def evaluation_rows(encoding: Encoding, body: Body, pointer: str = "#") -> RawRows:
    """Read the rows of an evaluation: inputs, targets and, if they were sent, weights.

    Args:
        encoding: Encoding of the job that trained the model.
        body: Like the body of `prediction_rows`, with target columns, or `targets` beside `inputs`.
        pointer: Location of `body` in the request.

    Raises:
        InvalidRequest: Columns or targets are missing or cannot be read as their type, or a shape does not
            fit.
    """
    names = list(dict.fromkeys([*encoding.features, *encoding.targets]))
    errors = ErrorCollector()
    received = _read(encoding, body, pointer, encoding.labelled_columns, errors)
    _check_inputs(encoding, received, errors)
    _check_targets(encoding, received, pointer, errors)
    if has_weights(encoding, received.dataset):
        names = [*encoding.labelled_columns]
    raw = _cast_received(encoding, received, names, errors)
    return (
        raw if encoding.window is None else _windows(encoding.window, raw, received.container, targets=True)
    )


def _windows(window: SeriesWindow, raw: RawRows, container: str, targets: bool = False) -> RawRows:
    """Find the complete windows of the rows.

    Args:
        window: The shape of the windows.
        raw: The rows.
        container: Pointer of the rows.
        targets: Whether a window needs the rows of its targets.

    Raises:
        InvalidRequest: Rows cannot be ordered, or are too few for a window; of a prediction, in any series.
    """
    assert isinstance(raw.dataset, TabularDataset)
    length = window.rows if targets else window.lags
    series = sort_series(window, raw.dataset.table, raw.rows, raw.cells)
    if series is not None:
        first = series.first_positions(length)
        if not targets or not len(first):  # an evaluation leaves out series without a window
            parts = f" ({window.lags} lags and {window.horizon} of the targets)" if targets else ""
            of_series = f" for {' and '.join(f'`{column}`' for column in window.by)} " if window.by else ""
            for name, count in series.short(length)[:MAX_LISTED]:
                found = f"found {count_of(count, 'row')}{of_series}{name if window.by else ''}"
                detail = f"A window needs {length}{parts} consecutive rows of a series; {found}."
                raw.errors.add(container, detail)
        raw = raw._replace(rows=series.row_numbers(first + (window.lags - 1)), series=series)
    raw.errors.raise_if_any()
    return raw


def _cast_received(
    encoding: Encoding, received: _RequestData, names: Sequence[str], errors: ErrorCollector
) -> RawRows:
    """Cast the received columns to the types of the training data.

    Args:
        encoding: Encoding of the job that trained the model.
        received: The data.
        names: The features, followed by the targets of an evaluation.
        errors: Errors found so far.

    Raises:
        InvalidRequest: There are errors; lists those of all columns.
    """
    read = dict.fromkeys([*names, *encoding.read_columns])
    dataset = received.dataset
    if encoding.groups and isinstance(dataset, TensorDataset) and not errors.count:
        dataset = _as_table(encoding, dataset)
    raw = RawRows.of(
        encoding.table_reading,
        dataset,
        [*read],
        received.column_pointer,
        errors,
        received.cell_pointer,
    )
    if errors.count and isinstance(raw.dataset, TabularDataset):
        # The request is refused; encode the readable columns, so that their errors are reported as well.
        readable, targets = set(raw.dataset.table.column_names), set(names).intersection(encoding.targets)
        for part in raw.slices():
            for name in encoding.features:
                if name in readable:
                    _encode_columns(encoding, [name], part, torch.float32)
            if targets and readable.issuperset(encoding.targets):
                _encode_targets(encoding, part)
    errors.raise_if_any()
    return raw


def _as_table(encoding: Encoding, dataset: TensorDataset) -> TabularDataset:
    """Make a table of raw feature rows [B, k], so that they are read like those of any other format."""
    columns = {
        name: pa.array(np.ascontiguousarray(dataset.inputs[input_name][:, index]))
        for input_name, names in encoding.groups.items()
        for index, name in enumerate(names)
    }
    table = pa.table(columns)
    kept = (pa.types.is_boolean, pa.types.is_int64, pa.types.is_float64)
    schema = pa.schema(
        [
            each if any(is_kept(each.type) for is_kept in kept) else each.with_type(NUMBER)
            for each in table.schema
        ]
    )
    return TabularDataset(table.cast(schema))


def _read(
    encoding: Encoding, body: Body, pointer: str, names: Sequence[str], errors: ErrorCollector
) -> _RequestData:
    """Read a body; of JSON columns only `names` are read, and errors in their cells are collected."""
    if isinstance(body, TabularDataset):
        container = pointer_to(pointer, "columns")
        return _RequestData(body, container, partial(pointer_to, container), partial(pointer_to, container))
    if isinstance(body, TensorDataset):
        return _RequestData(body, pointer, lambda name: pointer)
    _check_is_no_single_row(encoding, body, pointer)
    reading = encoding.table_reading
    dataset = read_json(
        body, pointer, names, options=reading.typed_options(), known=reading.known, cell_errors=errors
    )
    if isinstance(dataset, TensorDataset):
        container = pointer_to(pointer, "inputs")
        others = (TARGETS,) if dataset.weights is None else (TARGETS, WEIGHTS)
        pointers = {name: pointer_to(pointer, name) for name in others}
        return _RequestData(dataset, container, lambda name: pointers.get(name, container))
    return _RequestData(dataset, *layout_of(body, pointer))


def _check_is_no_single_row(encoding: Encoding, body: Any, pointer: str) -> None:
    """Refuse the values of one row as `inputs`, [k], with the list of rows to send instead.

    Raises:
        InvalidRequest: They are a row of a model with one input of several values.
    """
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or len(inputs) < 2 or len(encoding.input_names) != 1:
        return
    columns = [len(names) for names in encoding.groups.values()]
    shape = tuple(columns) if columns else encoding.sample_shapes[0]
    if shape == (len(inputs),) and not any(isinstance(value, list | dict) for value in inputs):
        shown = ", ".join(map(quote_value, inputs[:4])) + (", …" if len(inputs) > 4 else "")
        detail = f"This is one row of {len(inputs)} values; send a list of rows, [[{shown}]]."
        ErrorCollector().fail(pointer_to(pointer, "inputs"), detail)


def _check_inputs(encoding: Encoding, received: _RequestData, errors: ErrorCollector) -> None:
    if isinstance(received.dataset, TabularDataset):
        if not encoding.features:
            errors.add(received.container, "The model was trained on tensors; send `inputs`.")
        _check_names(encoding.read_columns, received.dataset, received.container, errors)
    else:
        _check_shapes(encoding, received.dataset, received.container, errors)


def _check_targets(encoding: Encoding, received: _RequestData, pointer: str, errors: ErrorCollector) -> None:
    if isinstance(received.dataset, TabularDataset):
        names = [name for name in encoding.targets if name not in encoding.read_columns]
        _check_names(names, received.dataset, received.container, errors)
    elif received.dataset.targets is None or encoding.features:
        errors.add(pointer, "Give `targets` beside `inputs`, or columns that include the targets.")
    elif received.dataset.targets.shape[1:] != encoding.target_shape:
        found, expected = list(received.dataset.targets.shape), _shape_text(encoding.target_shape)
        detail = f"The targets have shape {found}; the model was trained on targets {expected}."
        errors.add(received.column_pointer(TARGETS), detail)


def _check_names(names: Sequence[str], dataset: TabularDataset, pointer: str, errors: ErrorCollector) -> None:
    present = dataset.table.column_names
    for name in names:
        if name not in present:
            hint = did_you_mean(name, [other for other in present if other not in names])
            errors.add(pointer, f"The column `{name}` is missing{hint or '.'}")


def _check_shapes(encoding: Encoding, dataset: TensorDataset, pointer: str, errors: ErrorCollector) -> None:
    """Check names and shapes of inputs; those of a model trained on a table are raw feature rows [B, k]."""
    if encoding.window is not None:
        named = ", ".join(f"`{name}`" for name in encoding.window.columns)
        errors.add(pointer, f"The model reads windows of rows by {named}; send `columns` or `rows`.")
        return
    shapes = dict(zip(encoding.input_names, encoding.sample_shapes, strict=True))
    shapes |= {name: (len(columns),) for name, columns in encoding.groups.items()}
    if dataset.inputs.keys() != shapes.keys():
        found, expected = ", ".join(dataset.inputs), ", ".join(shapes)
        errors.add(pointer, f"The inputs of the model are named {expected}; the request has {found}.")
        return
    for name in encoding.features:
        if content := {"categorical": "text", "datetime": "a datetime"}.get(encoding.types[name]):
            errors.add(pointer, f"`{name}` is {content}; send `columns` or `rows` instead of `inputs`.")
    for name, shape in shapes.items():
        found_shape = dataset.inputs[name].shape
        columns = f" ({', '.join(encoding.groups[name])})" if encoding.groups else ""
        if found_shape[1:] != shape:
            detail = (
                f"`{name}` has shape {list(found_shape)}; the model expects {_shape_text(shape)}{columns}."
            )
            errors.add(pointer, detail)


def _shape_text(sample_shape: tuple[int, ...]) -> str:
    """Format the shape of a batch: `[B, 3]`."""
    return f"[{', '.join(['B', *map(str, sample_shape)])}]"
