"""The cells of a table in JSON: conversion of lists of values to columns."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from service.datasets.dataset import TabularDataset, with_options
from service.datasets.sources.casts import as_type, values_as_type
from service.datasets.sources.cell_texts import null_gaps, null_words
from service.datasets.sources.columns import COLUMN_TYPES, DATETIME, TEXT, from_values
from service.datasets.sources.json_layout import JsonColumns
from service.datasets.sources.nanoseconds import has_nanoseconds, nanoseconds_warning
from service.datasets.sources.text_columns import infer_kept_type, null_numbers
from service.datasets.validation import ErrorCollector, RowPointer
from service.specs.upload import ReadOptions


@dataclass(frozen=True)
class CellReader:
    """Reading of the cells of a table.

    Attributes:
        options: How to read them.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name; None for data to train on.
        errors: Receives the errors in cells.
        warnings: Receives what the client should know about the reading.
    """

    options: ReadOptions
    known: Mapping[str, Collection[str]] | None
    errors: ErrorCollector
    warnings: list[str] = field(default_factory=list)

    def read(self, columns: JsonColumns, errors: ErrorCollector) -> TabularDataset:
        """Convert the columns of a table.

        Args:
            columns: The columns.
            errors: The errors found before.

        Raises:
            InvalidRequest: There are errors, apart from those in cells if they have a collector of their own.
        """
        arrays = {
            name: self._column(name, values, partial(columns.layout.cell, name))
            for name, values in columns.values.items()
        }
        errors.raise_if_any()
        table = pa.table({name: arrays.get(name, pa.nulls(columns.rows)) for name in columns.names})
        return TabularDataset(with_options(table, self.options, reads_gaps=False), self.warnings)

    def _column(self, name: str, values: Sequence[Any], pointer_to_row: RowPointer) -> pa.ChunkedArray:
        """Convert the values of a column; of Arrow's type null if a cell has an error."""
        before = self.errors.count
        column = self._convert(name, values, pointer_to_row)
        return column if self.errors.count == before else pa.chunked_array([pa.nulls(len(values))])

    def _convert(self, name: str, values: Sequence[Any], pointer_to_row: RowPointer) -> pa.ChunkedArray:
        if name in self.options.types:
            type_name, known = self.options.types[name], self.known and self.known.get(name, ())
            column = values_as_type(values, type_name, self.options, pointer_to_row, self.errors, known)
            if column.type == DATETIME:
                self._warn_of_nanoseconds(name, pa.array([x for x in values if isinstance(x, str)], TEXT))
            return pa.chunked_array([column])
        column = pa.chunked_array([from_values(values, pointer_to_row, self.errors)])
        if self.options.missing:
            is_text = column.type == TEXT
            column = (null_words if is_text else null_numbers)(column, self.options.missing)
        found = infer_kept_type(column, self.options)
        if found in (None, column.type) or null_gaps(column, self.options).null_count > column.null_count:
            return column
        if found == DATETIME:
            self._warn_of_nanoseconds(name, column)
        return as_type(column, COLUMN_TYPES[found], self.options, pointer_to_row, self.errors)

    def _warn_of_nanoseconds(self, name: str, texts: pa.Array | pa.ChunkedArray) -> None:
        if self.known is None and has_nanoseconds(texts):
            self.warnings.append(nanoseconds_warning(name))
