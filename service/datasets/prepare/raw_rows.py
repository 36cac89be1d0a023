"""Raw rows: some rows of a dataset, with the pointers and the errors of their cells."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import torch

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.table_reading import TableReading
from service.datasets.prepare.windows import Series
from service.datasets.rows import Rows
from service.datasets.sources.casts import cast
from service.datasets.validation import Cells, ErrorCollector, quote_value

ColumnPointer = Callable[[str], str]
"""Maps the name of a column, of an input or `targets` to its pointer in the request."""
CellPointer = Callable[[str, int], str]
"""Maps the name of a column and a row number to the pointer of the cell in the request."""

MAX_SLICE_ROWS = 65_536
"""Most rows of a slice; encoding holds two or three copies of it in memory."""


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
        dropped: Number of rows that `drop_rows` has left out.
    """

    dataset: Dataset
    rows: Rows
    column_pointer: ColumnPointer
    errors: ErrorCollector
    cell_pointer: CellPointer | None = None
    series: Series | None = None
    dropped: int = 0

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
