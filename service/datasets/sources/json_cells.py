"""The cells of a table in JSON: conversion of lists of values to columns."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import NoneType
from typing import Any

import pyarrow as pa

from service.datasets.dataset import TabularDataset, with_options
from service.datasets.sources.casts import as_type, values_as_type
from service.datasets.sources.cell_texts import null_gaps, null_words
from service.datasets.sources.columns import (
    ARROW_TYPES,
    BOOLEAN,
    COLUMN_TYPES,
    DATETIME,
    INTEGER,
    NUMBER,
    TEXT,
    common_type,
    from_values,
)
from service.datasets.sources.json_layout import JsonColumns
from service.datasets.sources.nanoseconds import has_nanoseconds, nanoseconds_warning
from service.datasets.sources.text_columns import infer_kept_type, null_numbers
from service.datasets.validation import ErrorCollector, RowPointer
from service.specs.upload import ReadOptions


@dataclass
class CellTypes:
    """The types of a column that is read in pieces, as far as they were read.

    Attributes:
        declared: The declared type, unless it is numeric: numbers are of two column types.
        counts: Number of values of each Python type.
        present: Column type of the pieces that have values; None while there are none.
        missing: Column type of the pieces whose values all mean a missing one.
    """

    declared: pa.DataType | None
    counts: Counter[type] = field(default_factory=Counter)
    present: pa.DataType | None = None
    missing: pa.DataType | None = None

    @property
    def column_type(self) -> pa.DataType:
        """The type of the whole column."""
        if self.declared is not None:
            return self.declared
        kinds = {"numbers" if each in (int, float) else each for each in self.counts if each is not NoneType}
        is_wider = float in self.counts if kinds == {"numbers"} else len(kinds) > 1
        found = self.present or self.missing or NUMBER
        # Integers beyond int64 are text alone, and numbers beside others with a decimal point.
        return NUMBER if is_wider and found in (INTEGER, TEXT) else found

    @property
    def is_settled(self) -> bool:
        """Whether further pieces can't change the type."""
        if self.declared is not None or self.present == TEXT:
            return True
        return self.present in (NUMBER, BOOLEAN) and str not in self.counts


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

    def types_of(self, name: str) -> CellTypes:
        """Return the types of a column of which nothing was read yet."""
        declared = self.options.types.get(name, "numeric")
        return CellTypes(None if declared == "numeric" else ARROW_TYPES[declared])

    def add_types(self, name: str, values: Sequence[Any], types: CellTypes) -> None:
        """Add the types of a piece of a column; its errors are reported when it is read."""
        types.counts.update(map(type, values))
        if not types.is_settled:
            reader = replace(self, errors=ErrorCollector(), warnings=[])
            column = reader._convert(name, values, str)
            if column.null_count < len(column):
                types.present = common_type(types.present, column.type)
            elif any(value is not None for value in values):
                types.missing = common_type(types.missing, column.type)

    def read_piece(
        self, name: str, values: Sequence[Any], pointer_to_row: RowPointer, types: CellTypes
    ) -> pa.ChunkedArray:
        """Convert a piece of a column, given the types in the whole column."""
        before = self.errors.count
        column = self._convert(name, values, pointer_to_row, types)
        if self.errors.count > before or column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(values), types.column_type)])
        return column.cast(types.column_type, safe=False)

    def _convert(
        self, name: str, values: Sequence[Any], pointer_to_row: RowPointer, found: CellTypes | None = None
    ) -> pa.ChunkedArray:
        """Convert values to a column.

        Args:
            name: Name of the column.
            values: Its values, or a piece of them, [rows].
            pointer_to_row: Returns the pointer to a row's cell.
            found: The types in the whole column, if the values are a piece of it. The type of the result may
                still be that of the piece.
        """
        counts = None if found is None else found.counts
        if name in self.options.types:
            type_name, known = self.options.types[name], self.known and self.known.get(name, ())
            column = values_as_type(
                values, type_name, self.options, pointer_to_row, self.errors, known, counts
            )
            if column.type == DATETIME:
                self._warn_of_nanoseconds(name, pa.array([x for x in values if isinstance(x, str)], TEXT))
            return pa.chunked_array([column])
        column = pa.chunked_array([from_values(values, pointer_to_row, self.errors, counts)])
        if self.options.missing:
            is_text = column.type == TEXT
            column = (null_words if is_text else null_numbers)(column, self.options.missing)
        target = self._inferred(column) if found is None else found.column_type
        if target == column.type:
            return column
        if target == DATETIME:
            self._warn_of_nanoseconds(name, column)
        return as_type(column, COLUMN_TYPES[target], self.options, pointer_to_row, self.errors)

    def _inferred(self, column: pa.ChunkedArray) -> pa.DataType:
        """Return the type that a column of JSON values is read as."""
        found = infer_kept_type(column, self.options)
        if found in (None, column.type) or null_gaps(column, self.options).null_count > column.null_count:
            return column.type
        return found

    def _warn_of_nanoseconds(self, name: str, texts: pa.Array | pa.ChunkedArray) -> None:
        if self.known is None and has_nanoseconds(texts):
            self.warnings.append(nanoseconds_warning(name))
