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
    table, names = dataset.table, dataset.table.column_names
    positions = {name: position for position, name in enumerate(names)}
    for name, column_type in types.items():
        pointer = pointer_to(DATA, "types", name)
        if name not in positions:
            errors.add(pointer, partial(unknown_column, name, names))
            continue
        before = errors.count
        cells = Cells(name, pointer, errors, range(dataset.rows))
        column = cast(table[name], column_type, options, cells)
        if errors.count > before:
            # Cells that cannot be cast are null now; fill them, so that they are not reported as missing too.
            column = column.fill_null(pa.scalar(0).cast(column.type))
        table = table.set_column(positions[name], name, column)
    return TabularDataset(table)


def reread_texts(
    dataset: TabularDataset, read: ReadOptions, options: ReadOptions, types: Mapping[str, str]
) -> TabularDataset:
    """Infer the types of text columns again if the formats of cells differ from those they were read by."""
    if options.cell_options() == read.cell_options():
        return dataset
    table = dataset.table
    for index, name in enumerate(table.column_names):
        column = table[name]
        if column.type != TEXT or name in types:
            continue
        column = null_gaps(column, options)
        found = infer_kept_type(column, options)
        if found not in (None, TEXT):
            column = as_type(column, COLUMN_TYPES[found], options, str, ErrorCollector())
        table = table.set_column(index, name, column)
    return TabularDataset(table)
