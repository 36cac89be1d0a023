"""Types and reading options in a declaration, applied to the columns of its table."""

from collections.abc import Mapping
from functools import partial

import pyarrow as pa

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.prepare.declared_data import DATA
from service.datasets.sources.casts import as_type, cast
from service.datasets.sources.cell_texts import null_gaps
from service.datasets.sources.columns import COLUMN_TYPES, TEXT, unknown_column
from service.datasets.sources.text_columns import infer_kept_type
from service.datasets.validation import Cells, ErrorCollector
from service.errors import pointer_to
from service.specs.data import DataDeclaration
from service.specs.upload import ReadOptions


def reading_options(dataset: Dataset, data: DataDeclaration) -> ReadOptions:
    """Return the options by which a dataset was read, replaced by those that a data section declares."""
    if not isinstance(dataset, TabularDataset):
        return ReadOptions()
    declared = data.reading.model_dump(exclude_unset=True, exclude={"types"})
    return ReadOptions(**dataset.options.model_dump(exclude_unset=True) | declared)


def cast_columns(
    dataset: TabularDataset, types: Mapping[str, str], options: ReadOptions, errors: ErrorCollector
) -> TabularDataset:
    """Cast columns to their declared types, and report cells that cannot be cast.

    Args:
        dataset: The table.
        types: Column types by name.
        options: Formats of texts.
        errors: Receives the errors.
    """
    names = dataset.table.column_names
    columns = dict(zip(names, dataset.table.columns, strict=True))
    for name, column_type in types.items():
        pointer = pointer_to(DATA, "types", name)
        if name not in columns:
            errors.add(pointer, partial(unknown_column, name, names))
            continue
        before = errors.count
        cells = Cells(name, pointer, errors, range(dataset.rows))
        column = cast(columns[name], column_type, options, cells)
        if errors.count > before:
            # Cells that cannot be cast are null now; fill them, so that they are not reported as missing too.
            column = column.fill_null(pa.scalar(0).cast(column.type))
        columns[name] = column
    return TabularDataset(_with_columns(dataset.table, columns))


def reread_texts(
    dataset: TabularDataset, read: ReadOptions, options: ReadOptions, types: Mapping[str, str]
) -> TabularDataset:
    """Infer the types of text columns again if the formats of cells differ from those they were read by."""
    if options.cell_options() == read.cell_options():
        return dataset
    columns = dict(zip(dataset.table.column_names, dataset.table.columns, strict=True))
    for name, column in columns.items():
        if column.type != TEXT or name in types:
            continue
        columns[name] = texts = null_gaps(column, options)
        found = infer_kept_type(texts, options)
        if found not in (None, TEXT):
            columns[name] = as_type(texts, COLUMN_TYPES[found], options, str, ErrorCollector())
    return TabularDataset(_with_columns(dataset.table, columns))


def _with_columns(table: pa.Table, columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Replace all columns at once: each `set_column` copies the list of columns."""
    return pa.table(columns, metadata=table.schema.metadata)
