"""Arrow IPC files and streams as tables, read batch by batch; Parquet files are read the same way."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.dataset import Batches, with_options
from service.datasets.sources.casts import as_text, as_type, exact_texts, retype
from service.datasets.sources.cell_texts import null_gaps
from service.datasets.sources.column_names import check_names
from service.datasets.sources.columns import (
    COLUMN_TYPES,
    DATETIME,
    NUMBER,
    TEXT,
    ColumnPointers,
    check_types,
    common_type,
    from_arrow,
    is_large_integer,
    is_supported,
    is_text,
)
from service.datasets.sources.csv_sample import MAX_SAMPLE_ROWS
from service.datasets.sources.index_column import find_index
from service.datasets.sources.nanoseconds import has_nanoseconds, nanoseconds_warning
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.sources.text_columns import infer_kept_type
from service.datasets.validation import ErrorCollector, RowPointer, quote_name
from service.errors import pointer_to, shorten
from service.specs.transforms import MAX_COLUMNS
from service.specs.upload import ReadOptions

T = TypeVar("T")

TEXT_COLUMNS: Final = b"fitserve.text_columns"
"""Key of a schema's metadata: columns whose texts mean nothing else, as JSON. Downloads have it."""

_FILE_MAGIC = b"ARROW1"
_BATCH_BYTES = 16 * 2**20
# Needed beside `_BATCH_BYTES` because converted values may be larger than the sent ones.
_MAX_BATCH_ROWS = 2**20
_MAX_SHOWN_CHARACTERS = 100


class ArrowTable:
    """Reader of Arrow record batches of any size.

    Args:
        schema: Schema of the batches.
        open_batches: Returns the batches, from the first one on.
        format_name: Name of the file's format, for messages.
        options: How to read the table.
        selected: Names of the columns to read; None: all. Other columns get null values and are not checked.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name.
        written: The schema of the table from which the file was made, where it says more than that of the
            batches.

    Raises:
        InvalidRequest: The schema has errors; lists every unsupported column.
    """

    def __init__(
        self,
        schema: pa.Schema,
        open_batches: Callable[[], Batches],
        format_name: str,
        options: ReadOptions,
        selected: Collection[str] | None = None,
        known: Mapping[str, Collection[str]] | None = None,
        written: pa.Schema | None = None,
    ) -> None:
        errors = ErrorCollector()
        if not 0 < len(schema) <= MAX_COLUMNS:
            errors.fail("#", f"There are {len(schema)} columns; 1 to {MAX_COLUMNS} are supported.")
        self._open_batches, self._format_name = open_batches, format_name
        index = find_index(schema.names, options.index, selected, self._are_row_numbers)
        sent: list[str | None] = schema.names
        if index.position is not None:
            sent[index.position] = index.name
        names = check_names(sent, options.ignore, selected, errors)
        self._index_warnings, self._nanoseconds = index.warnings, set[str]()
        self._positions = {name: position for position, name in enumerate(names) if name is not None}
        if index.name in self._positions:  # in a CSV file, the index is the first column
            self._positions = {index.name: self._positions[index.name], **self._positions}
        self._selected = dict.fromkeys(
            name for name in self._positions if selected is None or name in selected
        )
        for name in self._selected:
            found = schema.field(self._positions[name]).type
            if not is_supported(found):
                supported = "numbers, booleans, text, dates and timestamps"
                kind = shorten(str(found), _MAX_SHOWN_CHARACTERS)
                detail = (
                    f"{quote_name(name)} is of type {kind}; supported are {supported}.{_remedy(name, found)}"
                )
                errors.add(pointer_to("#/columns", name), detail)
        if known is None:  # a model's missing columns are reported with its other errors
            check_types(options.types, [*self._positions], "?types", errors)
        errors.raise_if_any()
        self._options, self._known = options, known
        self._types = {name: kind for name, kind in options.types.items() if name in self._selected}
        self._schema = schema
        self._categorical = _categorical_columns(schema if written is None else written)

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns, without those that are left out."""
        return [*self._positions]

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about the reading; complete after `read`."""
        cut_off = [name for name in self._positions if name in self._nanoseconds]
        return [*self._index_warnings, *map(nanoseconds_warning, cut_off)]

    def _are_row_numbers(self, position: int) -> bool:
        """Return whether the first rows of a column have integers that are all different."""
        for batch in self._validated():
            column = batch.column(position).slice(0, MAX_SAMPLE_ROWS)
            if len(column):
                is_integer = pa.types.is_integer(column.type) and not column.null_count
                return is_integer and len(column.unique()) == len(column) and pc.min(column).as_py() >= 0
        return False

    def read(self, consume: Callable[[Batches], T]) -> T:
        """Read the rows.

        Args:
            consume: Processes the batches of rows.

        Returns:
            The result of `consume`.

        Raises:
            InvalidRequest: The file has errors; lists the first 100 and counts all.
        """
        return consume(_coalesce(self._converted()))

    def unconverted(self) -> pa.Table:
        """Read the selected columns with the types that they have in the file."""
        table = pa.Table.from_batches(list(self._validated()))
        return pa.table({name: table.column(self._positions[name]) for name in self._selected})

    def _converted(self) -> Iterator[pa.Table]:
        """Yield the rows, converted to the column types, in pieces of limited size."""
        errors, rows = ErrorCollector(), 0
        for batch in self._validated():
            piece_rows = max(1, min(_MAX_BATCH_ROWS, batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes)))
            for start in range(0, batch.num_rows, piece_rows):
                yield self._convert(batch.slice(start, piece_rows), rows + start, errors)
            rows += batch.num_rows
        if not rows:
            errors.add("#", "There are no rows.")
        errors.raise_if_any()

    def _validated(self) -> Batches:
        with refuse_unreadable(self._format_name):
            for batch in self._open_batches():
                batch.validate(full=True)  # offsets and lengths in the file may be wrong
                yield batch

    def _convert(self, batch: pa.RecordBatch, first_row: int, errors: ErrorCollector) -> pa.Table:
        inferred = self._inferred_types

        def pointers(name: str) -> RowPointer:
            return ColumnPointers("#/columns", name, first_row)

        def convert_column(name: str) -> pa.ChunkedArray | pa.Array:
            if name not in self._selected:
                return pa.nulls(batch.num_rows)
            column = pa.chunked_array([batch.column(self._positions[name])])
            if self._is_categorical(name) and (texts := exact_texts(column)) is not None:
                return texts
            column = from_arrow(column, pointers(name), errors)
            if name in self._types:
                return column  # converted below
            if name in self._categorical:
                return as_text(column)
            if column.type == TEXT:
                column = null_gaps(column, self._options)
            found = COLUMN_TYPES[inferred.get(name, column.type)]
            return as_type(column, found, self._options, pointers(name), errors)

        table = pa.table({name: convert_column(name) for name in self._positions})
        table = retype(table, self._types, self._options, pointers, errors, self._known)
        schema = pa.schema(
            {name: inferred.get(name, table.schema.field(name).type) for name in self._positions}
        )
        typed = table.cast(schema, safe=False)
        times = [name for name in self._selected if schema.field(name).type == DATETIME]
        self._nanoseconds.update(
            name for name in times if has_nanoseconds(batch.column(self._positions[name]))
        )
        return with_options(typed, self._options, self._categories, reads_gaps=self._known is None)

    @cached_property
    def _inferred_types(self) -> Mapping[str, pa.DataType]:
        """The types of columns whose type the schema does not determine.

        Texts that are all dates or times are `DATETIME`, integers beyond int64 `TEXT`, and texts that are
        declared as numeric `INTEGER` or `NUMBER`. The columns in question are read once for this; the first
        batch settles most of them.
        """
        undecided: dict[str, pa.DataType | None] = dict.fromkeys(filter(self._is_ambiguous, self._selected))
        decided: dict[str, pa.DataType] = {}
        for batch in self._validated() if undecided else ():
            for name, before in list(undecided.items()):
                column = from_arrow(
                    pa.chunked_array([batch.column(self._positions[name])]), str, ErrorCollector()
                )
                if name in self._types:
                    numbers = as_type(column, "numeric", self._options, str, ErrorCollector())
                    found = None if numbers.null_count == len(numbers) else numbers.type
                else:
                    found = infer_kept_type(column, self._options)
                undecided[name] = common_type(before, found)
                if undecided[name] in (NUMBER, TEXT):
                    decided[name] = undecided.pop(name) or TEXT
            if not undecided:
                break
        return decided | {name: found for name, found in undecided.items() if found is not None}

    def _is_ambiguous(self, name: str) -> bool:
        arrow_type = self._field_type(name)
        if name in self._types:
            return self._types[name] == "numeric" and is_text(arrow_type)
        if name in self._categorical:
            return False
        return is_text(arrow_type) or is_large_integer(arrow_type)

    def _is_categorical(self, name: str) -> bool:
        return self._types.get(name, "categorical" if name in self._categorical else None) == "categorical"

    def _field_type(self, name: str) -> pa.DataType:
        return self._schema.field(self._positions[name]).type

    @cached_property
    def _categories(self) -> Mapping[str, Sequence[str]]:
        """The categories of the selected columns whose categories have an order, as in pandas."""
        names = [name for name in self._selected if getattr(self._field_type(name), "ordered", False)]
        first = next(self._validated(), None) if names else None
        if first is None:
            return {}
        dictionaries = {name: first.column(self._positions[name]).dictionary for name in names}
        return {name: as_text(pa.chunked_array([each])).to_pylist() for name, each in dictionaries.items()}


def _categorical_columns(schema: pa.Schema) -> set[str]:
    """Return the columns that are categories, whatever their values look like.

    These are dictionaries of numbers, and columns of which pandas or a download says so in the metadata:
    Parquet has dictionaries of texts only.
    """
    metadata = schema.metadata or {}
    columns = json.loads(metadata.get(b"pandas", b"{}")).get("columns", [])
    return {
        *(field.name for field in schema if _is_dictionary_of_numbers(field.type)),
        *(each["name"] for each in columns if each.get("pandas_type") == "categorical"),
        *json.loads(metadata.get(TEXT_COLUMNS, b"[]")),
    }


def _is_dictionary_of_numbers(arrow_type: pa.DataType) -> bool:
    if not pa.types.is_dictionary(arrow_type):
        return False
    kind = arrow_type.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _remedy(name: str, arrow_type: pa.DataType) -> str:
    """Return what to do with a column of vectors."""
    name = shorten(name, _MAX_SHOWN_CHARACTERS)
    if not pa.types.is_nested(arrow_type) or not hasattr(arrow_type, "value_type"):
        return f" `?ignore={name}` leaves it out."
    example = f"numpy.savez(file, inputs=numpy.stack(frame[{name!r}]), targets=…)"
    return f" Send vectors as a .npz archive, {example}, or leave them out with `?ignore={name}`."


def _coalesce(tables: Iterator[pa.Table]) -> Batches:
    """Combine small tables into batches of about 16 MiB."""
    pending: list[pa.Table] = []
    pending_bytes = 0
    for table in tables:
        pending.append(table)
        pending_bytes += table.nbytes
        if pending_bytes >= _BATCH_BYTES:
            yield from pa.concat_tables(pending).combine_chunks().to_batches()
            pending, pending_bytes = [], 0
    if pending:
        yield from pa.concat_tables(pending).combine_chunks().to_batches()


def read_arrow(
    path: Path,
    options: ReadOptions,
    selected: Collection[str] | None = None,
    known: Mapping[str, Collection[str]] | None = None,
) -> ArrowTable:
    """Open the table in an Arrow IPC file or stream; see `ArrowTable` for the arguments.

    Raises:
        InvalidRequest: The schema can't be read, or has errors.
    """
    with path.open("rb") as file:
        is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC

    def open_batches() -> Batches:
        source = pa.memory_map(str(path))
        if not is_file:
            yield from pa.ipc.open_stream(source)
            return
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)

    with refuse_unreadable("Arrow IPC"):
        opened = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(pa.memory_map(str(path)))
        return ArrowTable(opened.schema, open_batches, "Arrow IPC", options, selected, known)
