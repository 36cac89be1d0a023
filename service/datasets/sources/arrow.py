"""Arrow IPC files and streams as a table, a record batch at a time; Parquet goes the same way."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from service.datasets.dataset import Batches
from service.datasets.sources.columns import (
    MOST_COLUMNS,
    cell_of_column,
    check_types,
    from_arrow,
    is_taken,
    retype,
)
from service.datasets.sources.csv_header import check_names
from service.datasets.sources.read_errors import refusing
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to
from service.specs.upload import ReadOptions

T = TypeVar("T")

_FILE = b"ARROW1"
_BATCH_BYTES = 16 * 2**20
_MOST_ROWS = 2**20  # of a batch; what takes a byte as it is sent may take more as it is kept


class ArrowTable:
    """Record batches of any size and of the types that columns can have.

    Args:
        schema: of the batches.
        batches: gives the batches from the first on.
        kind: what the file is, for messages.
        options: only `types` matters.
        taken: the columns that matter; None: all. Others are there without a value, and may hold anything.

    Raises:
        InvalidRequest: with every column that can't be taken.
    """

    def __init__(
        self,
        schema: pa.Schema,
        batches: Callable[[], Batches],
        kind: str,
        options: ReadOptions,
        taken: Collection[str] | None = None,
    ) -> None:
        errors = ErrorCollector()
        if not 0 < len(schema) <= MOST_COLUMNS:
            errors.fail("#", f"There are {len(schema)} columns; 1 to {MOST_COLUMNS} are taken.")
        names = check_names(schema.names, "", taken, errors)
        self._positions = {name: position for position, name in enumerate(names) if name is not None}
        self._taken = dict.fromkeys(name for name in self._positions if taken is None or name in taken)
        for name in self._taken:
            found = schema.field(self._positions[name]).type
            if not is_taken(found):
                known = "numbers, booleans, text, dates and times with a date"
                errors.add(pointer_to("#/columns", name), f"`{name}` is of type {found}; taken are {known}.")
        check_types(options.types, schema.names, "?types", errors)
        errors.raise_if_any()
        self._open, self._kind, self._types = batches, kind, options.types

    def read(self, consume: Callable[[Batches], T]) -> T:
        """What `consume` makes of the rows.

        Raises:
            InvalidRequest: with every error, or the first 100 of them and their number.
        """
        return consume(_gathered(self._converted()))

    def _converted(self) -> Iterator[pa.Table]:
        """The rows in pieces that fit into memory, as our types."""
        errors, rows = ErrorCollector(), 0
        for batch in self._validated():
            rows_at_once = max(1, min(_MOST_ROWS, batch.num_rows * _BATCH_BYTES // max(1, batch.nbytes)))
            for start in range(0, batch.num_rows, rows_at_once):
                yield self._convert(batch.slice(start, rows_at_once), rows + start, errors)
            rows += batch.num_rows
        if not rows:
            errors.add("#", "There are no rows.")
        errors.raise_if_any()

    def _validated(self) -> Batches:
        with refusing(self._kind):
            for batch in self._open():
                batch.validate(full=True)  # what it says about itself may be a lie
                yield batch

    def _convert(self, batch: pa.RecordBatch, first_row: int, errors: ErrorCollector) -> pa.Table:
        columns = {
            name: from_arrow(
                pa.chunked_array([batch.column(position)]),
                cell_of_column("#/columns", name, first_row),
                errors,
            )
            if name in self._taken
            else pa.nulls(batch.num_rows)
            for name, position in self._positions.items()
        }
        return retype(
            pa.table(columns),
            {name: kind for name, kind in self._types.items() if name in self._taken},
            lambda name: cell_of_column("#/columns", name, first_row),
            errors,
        )


def _gathered(tables: Iterator[pa.Table]) -> Batches:
    """Batches of many rows, however few come at a time."""
    waiting: list[pa.Table] = []
    waiting_bytes = 0
    for table in tables:
        waiting.append(table)
        waiting_bytes += table.nbytes
        if waiting_bytes >= _BATCH_BYTES:
            yield from pa.concat_tables(waiting).combine_chunks().to_batches()
            waiting, waiting_bytes = [], 0
    if waiting:
        yield from pa.concat_tables(waiting).combine_chunks().to_batches()


def read_arrow(path: Path, options: ReadOptions, taken: Collection[str] | None = None) -> ArrowTable:
    """The table in an Arrow IPC file or stream, told apart by how they begin."""
    with path.open("rb") as file:
        is_file = file.read(len(_FILE)) == _FILE

    def batches() -> Batches:
        source = pa.memory_map(str(path))
        if not is_file:
            yield from pa.ipc.open_stream(source)
            return
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)

    with refusing("Arrow IPC"):
        opened = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(pa.memory_map(str(path)))
        return ArrowTable(opened.schema, batches, "Arrow IPC", options, taken)
