"""Rows of predictions and evaluations, as requests contain them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.prepare.encoding import TARGETS, WEIGHTS, Encoding
from service.datasets.prepare.inputs import encode_columns
from service.datasets.prepare.missing_values import complete_rows
from service.datasets.prepare.number_columns import read_numbers
from service.datasets.prepare.raw_rows import CellPointer, ColumnPointer, RawRows
from service.datasets.prepare.targets import encode_targets
from service.datasets.prepare.weights import has_weights
from service.datasets.prepare.windows import SeriesWindow, sort_series
from service.datasets.sources.columns import NUMBER
from service.datasets.sources.json import read_json
from service.datasets.sources.json_layout import layout_of
from service.datasets.sources.json_tensors import wrapping_remedy
from service.datasets.validation import ErrorCollector, count_of, quote_name, quote_value
from service.errors import MAX_LISTED_ERRORS, FieldErrors, pointer_to
from service.specs.base import did_you_mean

_MAX_NAMED = 5  # columns in one message

Body = Mapping[str, Any] | list[Any] | Dataset


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
    if (numbers := read_numbers(encoding, body)) is not None:
        return _number_rows(numbers, body, pointer, errors)
    received = _read(encoding, body, pointer, encoding.read_columns, errors)
    _check_inputs(encoding, received, errors)
    raw = _cast_received(encoding, received, encoding.features, errors)
    return raw if encoding.window is None else _windows(encoding.window, raw, received.container)


def _number_rows(numbers: TensorDataset, body: Any, pointer: str, errors: ErrorCollector) -> RawRows:
    """Select all rows of a body of numbers, with the pointers that its form has."""
    rows = range(numbers.rows)
    if isinstance(body, dict) and "inputs" in body:
        container = pointer_to(pointer, "inputs")
        return RawRows(numbers, rows, lambda name: container, errors)
    layout = layout_of(body, pointer)
    return RawRows(numbers, rows, layout.column, errors, layout.cell)


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
    raw = _drop_rows(encoding, _cast_received(encoding, received, names, errors), received.container)
    return (
        raw if encoding.window is None else _windows(encoding.window, raw, received.container, targets=True)
    )


def _drop_rows(encoding: Encoding, raw: RawRows, container: str) -> RawRows:
    """Leave out the rows that `drop_rows` leaves out of the training.

    Raises:
        InvalidRequest: No row is left.
    """
    kept = complete_rows(raw.dataset, encoding.dropping)
    if not len(kept):
        detail = f"`drop_rows` of the job drops all of the {count_of(raw.dataset.rows, 'row')}"
        named = ", ".join(map(quote_name, encoding.dropping[:_MAX_NAMED]))
        raw.errors.fail(container, f"{detail}: each has a missing value in a column of it, here {named}.")
    return raw._replace(rows=kept, dropped=raw.dataset.rows - len(kept))


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
            for name, count in series.short(length)[:MAX_LISTED_ERRORS]:
                found = f"found {count_of(count, 'row')}{of_series}{name if window.by else ''}"
                detail = f"A window needs {length}{parts} consecutive rows of a series; {found}."
                raw.errors.add(container, detail)
        raw = raw._replace(rows=series.row_numbers(first + (window.lags - 1)), series=series)
    raw.errors.raise_if_any()
    return raw


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
        present = received.dataset.table.column_names
        check_names(encoding.read_columns, present, received.container, errors)
    else:
        _check_shapes(encoding, received.dataset, received.container, errors)


def _check_targets(encoding: Encoding, received: _RequestData, pointer: str, errors: ErrorCollector) -> None:
    if isinstance(received.dataset, TabularDataset):
        names = [name for name in encoding.targets if name not in encoding.read_columns]
        check_names(names, received.dataset.table.column_names, received.container, errors)
    elif received.dataset.targets is None or encoding.features:
        errors.add(pointer, "Give `targets` beside `inputs`, or columns that include the targets.")
    elif received.dataset.targets.shape[1:] != encoding.target_shape:
        found, expected = list(received.dataset.targets.shape), _shape_text(encoding.target_shape)
        detail = f"The targets have shape {found}; the model was trained on targets {expected}."
        errors.add(received.column_pointer(TARGETS), detail)


def check_names(names: Sequence[str], present: Sequence[str], pointer: str, errors: FieldErrors) -> None:
    """Report each column that a model needs and a table lacks.

    Args:
        names: The columns that are needed.
        present: The columns of the table.
        pointer: Location of the columns in the request.
        errors: Receives the errors.
    """
    found, wanted = set(present), set(names)
    others = [name for name in present if name not in wanted]
    for name in names:
        if name not in found:
            errors.add(pointer, partial(_missing_column, name, others))


def _missing_column(name: str, others: Sequence[str]) -> str:
    return f"The column `{name}` is missing{did_you_mean(name, others) or '.'}"


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
            remedy = f"; {wrapping_remedy(dataset.inputs[name])}" if len(found_shape) == 1 else "."
            expected = f"the model expects {_shape_text(shape)}{columns}{remedy}"
            errors.add(pointer, f"`{name}` has shape {list(found_shape)}; {expected}")


def _shape_text(sample_shape: tuple[int, ...]) -> str:
    """Format the shape of a batch: `[B, 3]`."""
    return f"[{', '.join(['B', *map(str, sample_shape)])}]"


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
                    encode_columns(encoding, [name], part, torch.float32)
            if targets and readable.issuperset(encoding.targets):
                encode_targets(encoding, part)
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
