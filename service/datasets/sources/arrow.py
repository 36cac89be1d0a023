"""Arrow IPC files and streams as tables, read batch by batch; Parquet files are read the same way."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from service.datasets.dataset import Batches
from service.datasets.sources.casts import retype
from service.datasets.sources.columns import (
    MAX_COLUMNS,
    check_types,
    column_pointers,
    from_arrow,
    is_supported,
)
from service.datasets.sources.csv_header import check_names
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.upload import ReadOptions

T = TypeVar("T")

_FILE_MAGIC = b"ARROW1"
_BATCH_BYTES = 16 * 2**20
# Needed beside `_BATCH_BYTES` because converted values may be larger than the sent ones.
_MAX_BATCH_ROWS = 2**20


class ArrowTable:
    """Reader of Arrow record batches of any size.

    Args:
        schema: Schema of the batches.
        open_batches: Returns the batches, from the first one on.
        format_name: Name of the file's format, for messages.
        options: How to read the file; only `types` is used.
        selected: Names of the columns to read; None: all. Other columns get null values and are not checked.

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
    ) -> None:
        errors = ErrorCollector()
        if not 0 < len(schema) <= MAX_COLUMNS:
            errors.fail("#", f"There are {len(schema)} columns; 1 to {MAX_COLUMNS} are supported.")
        names = check_names(schema.names, "", selected, errors)
        self._positions = {name: position for position, name in enumerate(names) if name is not None}
        self._selected = dict.fromkeys(
            name for name in self._positions if selected is None or name in selected
        )
        for name in self._selected:
            found = schema.field(self._positions[name]).type
            if not is_supported(found):
                supported = "numbers, booleans, text, dates and timestamps"
                detail = f"`{name}` is of type {found}; supported are {supported}."
                errors.add(pointer_to("#/columns", name), detail)
        check_types(options.types, schema.names, "?types", errors)
        errors.raise_if_any()
        self._open_batches, self._format_name, self._types = open_batches, format_name, options.types

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

    def _converted(self) -> Iterator[pa.Table]:
        """Yield the rows, converted to the four column types, in pieces of limited size."""
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
        columns = {
            name: from_arrow(
                pa.chunked_array([batch.column(position)]),
                column_pointers("#/columns", name, first_row),
                errors,
            )
            if name in self._selected
            else pa.nulls(batch.num_rows)
            for name, position in self._positions.items()
        }
        return retype(
            pa.table(columns),
            {name: type_name for name, type_name in self._types.items() if name in self._selected},
            lambda name: column_pointers("#/columns", name, first_row),
            errors,
        )


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


def read_arrow(path: Path, options: ReadOptions, selected: Collection[str] | None = None) -> ArrowTable:
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
        return ArrowTable(opened.schema, open_batches, "Arrow IPC", options, selected)
