"""The header of a CSV file: delimiter, column names and the offset of the first row."""

import codecs
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from service.datasets.formulas import with_formula
from service.datasets.sources.column_names import check_names
from service.datasets.sources.csv_records import Text
from service.datasets.sources.csv_sample import (
    Record,
    columns_of_numbers,
    is_number,
    quoted_columns,
    read_sample,
    records,
    usual_width,
)
from service.datasets.sources.index_column import Index, find_index
from service.datasets.sources.text_encoding import check_utf8
from service.datasets.validation import ErrorCollector, count_of
from service.specs.transforms import MAX_COLUMNS
from service.specs.upload import SPACES, ReadOptions

MAX_HEADER_BYTES: Final = 4 * 2**20
_DELIMITERS = ",;\t|"
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", SPACES: "spaces"}
_EXCEL_DELIMITER_LINE = re.compile(rb"sep=([!-~\t])\r?\n")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)")
_MAX_LISTED = 5
_COMMENT_STARTS = ("#", "%", "//", "--", "*")
_CURL_REMEDY = "With curl, use `--data-binary`; `-d` removes line breaks."


class Header(NamedTuple):
    """The header of a CSV file.

    Attributes:
        names: Name of each column, all different; None for a column that is ignored.
        delimiter: One ASCII character, or `SPACES`.
        start: Offset of the first row.
        empty: Positions of columns that have neither a name nor, in the first rows, values.
        texts: Columns of numbers that are text, because the file quotes them and not other values.
        warnings: What the client should know about the reading.
    """

    names: list[str | None]
    delimiter: str
    start: int
    empty: Collection[int]
    texts: Collection[str]
    warnings: Sequence[str]


class _Table(NamedTuple):
    """The first records of a file, split by a delimiter.

    Attributes:
        delimiter: The delimiter.
        first: The first record, which is the header if the file has one.
        rows: The records below it, 1000 at most.
        is_declared: Whether the client has named the delimiter.
    """

    delimiter: str
    first: Record
    rows: Sequence[Record]
    is_declared: bool

    @property
    def usual_width(self) -> int | None:
        """The number of cells of more than half of the rows; None if there is none."""
        return usual_width(self.rows)

    @property
    def has_equal_widths(self) -> bool:
        """Whether the first record has as many cells as most rows."""
        return len(self.first.cells) == self.usual_width

    @property
    def trailing_cells(self) -> int:
        """The number of empty cells after the header in every row, as of lines that end with a delimiter.

        It is negative for empty cells at the end of the header that the rows do not have.
        """
        names, width = self.first.cells, self.usual_width or len(self.first.cells)
        surplus = width - len(names)
        if surplus > 0:
            is_trailing = all(
                len(row.cells) == width and all(map(row.is_empty, range(len(names), width)))
                for row in self.rows
            )
        else:
            is_trailing = not any(name.strip() for name in names[width:])
        return surplus if is_trailing else 0

    def has_row_names(self) -> bool:
        """Return whether each row begins with a name that has no header, as R's `write.table` writes them."""
        names, row_names = self.first.cells, [row.cells[0] for row in self.rows]
        is_table = len(names) > 1 and columns_of_numbers(self.rows) == len(names)
        is_sure = self.is_declared or all(self.first.quoted) or is_table
        return (
            self.delimiter in (SPACES, "\t")
            and bool(self.rows)
            and all(len(row.cells) == len(names) + 1 for row in self.rows)
            and not self.trailing_cells
            and not any(map(is_number, names))
            and len(set(row_names)) == len(row_names)
            and (is_sure or row_names == [str(n) for n in range(1, len(row_names) + 1)])
        )

    def is_empty(self, position: int) -> bool:
        """Return whether there are rows, and their cells at a position are empty."""
        return bool(self.rows) and all(
            row.is_empty(position) for row in self.rows if position < len(row.cells)
        )

    def are_row_numbers(self, position: int) -> bool:
        """Return whether the column at a position has integers that are all different."""
        cells = [row.cells[position].strip() for row in self.rows if position < len(row.cells)]
        return bool(cells) and all(map(_is_integer, cells)) and len(set(cells)) == len(cells)


def read_header(
    text: Text, options: ReadOptions, selected: Collection[str] | None, errors: ErrorCollector
) -> Header:
    """Read the first record that is not empty, and find out how the records are written.

    Without a declared delimiter it is the one of Excel's first line `sep=;`, if the file has one; otherwise
    the one of comma, semicolon, tab and bar that splits the record into the most cells. Where none splits it,
    a table that is separated by spaces is recognized by a column of numbers.

    Args:
        text: The whole file, in UTF-8.
        options: How to read it. Lines that a model's training data had before the table may be there or not.
        selected: See `check_names`.
        errors: Receives an error for each invalid name.

    Raises:
        InvalidRequest: The record can't be read, it is no header, or the file has nothing else.
    """
    offset = len(codecs.BOM_UTF8) if text[:3] == codecs.BOM_UTF8 else 0
    is_of_model = options.skip_lines > 0 and "skip_lines" not in options.model_fields_set
    if is_of_model and _starts_with_table(text, offset, options, selected or ()):
        options = options.model_copy(update={"skip_lines": 0})
    offset = _skip_lines(text, offset, options.skip_lines, errors)
    delimiter, lines_before = options.delimiter, options.skip_lines
    if excel_line := _EXCEL_DELIMITER_LINE.match(text, offset):
        offset, delimiter = excel_line.end(), delimiter or excel_line[1].decode()
        lines_before += 1
    lines = _head(text, offset, lines_before, errors)
    table = _split(lines, options.model_copy(update={"delimiter": delimiter}), selected, lines_before, errors)
    end = offset + len(lines[: table.first.end].encode())
    is_alone = end == len(text) and text[-1:] not in b"\r\n"
    if options.header and is_alone:
        errors.fail("#", f"There are no rows below the header. {_CURL_REMEDY}")
    if len(table.first.cells) > MAX_COLUMNS:
        found = f"{len(table.first.cells)} columns; at most {MAX_COLUMNS} are supported"
        errors.fail("#", f"Line {lines_before + table.first.line + 1} has {found}.")
    if selected is None or table.first.cells[0].strip() not in selected:
        _refuse_titles(table, lines_before, options.header, errors)
    warnings = list(_warnings(table, lines_before, delimiter, options.header))
    empty: list[int] = []
    if options.header:
        names, index, empty = _names(table, lines_before, options, selected, errors)
        warnings = [*index.warnings, *_empty_warnings(empty), *warnings]
    else:
        names, end = _numbered_names(table, options, errors), offset
    texts = [
        name
        for position in sorted(quoted_columns(table.rows))
        if (name := names[position] if position < len(names) else None)
    ]
    texts = [name for name in texts if name not in options.types]
    if selected is None:
        warnings += [
            f"`{name}` is text because its numbers are in quotes and other values are not; "
            f"`?types={name}:numeric` reads them as numbers."
            for name in texts
        ]
    return Header(names, table.delimiter, end, empty, texts, warnings)


def _starts_with_table(text: Text, offset: int, options: ReadOptions, selected: Collection[str]) -> bool:
    """Return whether the lines that a model's training data had before the table are not there.

    The first record then names a column that the model reads; of columns without names, it is as wide as the
    one that would follow these lines.
    """
    declared = options.delimiter is not None
    delimiters = [options.delimiter] if options.delimiter is not None else [*_DELIMITERS, SPACES]
    lines = text[offset : offset + MAX_HEADER_BYTES].decode(errors="replace")
    later = lines.splitlines(keepends=True)[options.skip_lines :]
    for delimiter in delimiters:
        first = next(records(lines, delimiter), None)
        if first is None:
            continue
        names = {cell.strip() for cell in first.cells}
        if options.header:
            # A sentence has single words that are names, too.
            found = names.issuperset(selected) if delimiter == SPACES else not names.isdisjoint(selected)
        else:
            following = next(records("".join(later), delimiter), None)
            is_split = declared or len(first.cells) > 1
            found = is_split and (following is None or len(following.cells) == len(first.cells))
        if found:
            return True
    return False


def _skip_lines(text: Text, offset: int, count: int, errors: ErrorCollector) -> int:
    """Return the offset after a number of lines."""
    for skipped in range(count):
        line = _LINE.match(text, offset)
        if line is None:
            lines = skipped + (offset < len(text))
            errors.fail("?skip_lines", f"The file has only {count_of(lines, 'line')}; skip fewer.")
        offset = line.end()
    return offset


def _head(text: Text, offset: int, lines_before: int, errors: ErrorCollector) -> str:
    """Decode the whole lines among the first 4 MiB."""
    head = text[offset : offset + MAX_HEADER_BYTES]
    if len(head) == MAX_HEADER_BYTES:
        head = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]
        if not head:
            errors.fail("#", f"The first line is longer than {MAX_HEADER_BYTES // 2**20} MiB. {_CURL_REMEDY}")
    check_utf8(head, 0, len(head), lines_before + 1, errors)
    return head.decode()


def _split(
    lines: str,
    options: ReadOptions,
    selected: Collection[str] | None,
    lines_before: int,
    errors: ErrorCollector,
) -> _Table:
    """Split the first records by the declared delimiter, or by the one that fits best."""
    is_declared = options.delimiter is not None
    delimiters = [*_DELIMITERS] if options.delimiter is None else [options.delimiter]
    delimiters.sort(key=options.decimal.__eq__)  # a decimal comma comes last
    firsts = {each: first for each in delimiters if (first := next(records(lines, each), None))}
    if not firsts:
        errors.fail("#", "The file is empty; send a header line and rows below it.")
    best = max(firsts, key=lambda each: len(firsts[each].cells))
    first = firsts[best]
    if first.is_open:
        line = lines_before + first.line + 1
        errors.fail("#", f"Line {line} has an opening quote that is not closed.")
    is_one_column = selected is not None and first.cells[0].strip() in selected
    if not is_declared and len(first.cells) == 1 and not is_one_column:
        # Below a name alone, a decimal comma is no delimiter.
        candidates = [each for each in firsts if each != options.decimal]
        candidates += [] if next(records(lines, SPACES), None) is None else [SPACES]
        tables = [_table(lines, each, is_declared=False) for each in candidates]
        fitting = [table for table in tables if _has_columns(table)]
        if fitting:  # the one that also divides the first record, rather than another that splits numbers
            return max(fitting, key=lambda table: (table.has_equal_widths, table.usual_width or 0))
    return _table(lines, best, is_declared)


def _table(lines: str, delimiter: str, is_declared: bool) -> _Table:
    first, *rows = read_sample(lines, delimiter)
    return _Table(delimiter, first, rows, is_declared)


def _has_columns(table: _Table) -> bool:
    """Return whether a delimiter splits the rows, although another one may not split the first record.

    Words of a text are separated by spaces, too; a table has a column of numbers, or below a title only such
    columns.
    """
    if table.usual_width in (None, 1):
        return False
    if table.delimiter != SPACES:
        return len(table.rows) > 1
    if not all(len(row.cells) == table.usual_width for row in table.rows):
        return False
    if table.has_equal_widths or table.has_row_names():
        return columns_of_numbers(table.rows) > 0
    return columns_of_numbers(table.rows[1:]) == table.usual_width


def _refuse_titles(table: _Table, lines_before: int, has_names: bool, errors: ErrorCollector) -> None:
    """Fail if the first lines don't belong to the table: a title, a comment, or a line of counts."""
    first, rows, width = table.first, table.rows, table.usual_width
    line = lines_before + first.line + 1
    is_padded = len(first.cells) > 1 and first.cells[0] and not any(first.cells[1:])
    has_row_names = has_names and table.has_row_names()
    if is_padded and has_names and rows and all(rows[0].cells):
        start = rows[0]
        found = f"Line {line} has a value in its first column only"
    elif len(rows) > 1 and width not in (None, len(first.cells)) and not has_row_names:
        if has_names and table.trailing_cells:
            return
        start = next(row for row in rows if len(row.cells) == width)
        found = f"Line {line} has {count_of(len(first.cells), 'value')}, and most lines below it have {width}"
        found += f" (separated by {_DELIMITER_NAMES.get(table.delimiter, table.delimiter)})"
    else:
        return
    skip = f"?skip_lines={lines_before + start.line}"
    if all(map(is_number, start.cells)):
        skip += "&header=false"
    name = "line of counts" if all(map(is_number, first.cells[:2])) else "title"
    name = "comment" if first.cells[0].startswith(_COMMENT_STARTS) else name
    other = f"; otherwise give each of the {width} columns a name" if has_names else ""
    errors.fail("#", f"{found}. It looks like a {name}: skip it with `{skip}`{other}.")


def _warnings(table: _Table, lines_before: int, declared: str | None, has_names: bool) -> Iterator[str]:
    line = lines_before + table.first.line + 1
    if declared is None and table.delimiter == SPACES:
        yield "The columns are separated by spaces; `?delimiter=comma` reads each line as one column."
    if has_names and table.first.cells[0].startswith("#"):
        remedy = f"`?skip_lines={line}` skips it"
        yield f"Line {line}, which has the column names, starts with `#`; if it is a comment, {remedy}."


def _names(
    table: _Table,
    lines_before: int,
    options: ReadOptions,
    selected: Collection[str] | None,
    errors: ErrorCollector,
) -> tuple[list[str | None], Index, list[int]]:
    """Check the names in the first record; find the index, and the columns without names and values."""
    names = [*[""] * table.has_row_names(), *_written_names(table.first, selected)]
    surplus = table.trailing_cells
    names = [*names, *[""] * surplus] if surplus >= 0 else names[:surplus]
    line, numbers = lines_before + table.first.line + 1, [name for name in names if is_number(name)]
    hint = f"; if line {line} is a row, send `?header=false`" if numbers else ""
    if 2 * len(numbers) > len(names) and len(set(numbers)) < len(numbers) and selected is None:
        found = f"the column names are numbers ({', '.join(numbers[:3])}, …), some of them equal"
        errors.fail("#", f"Line {line}: {found}{hint}.")
    empty = [
        position
        for position, name in enumerate(names)
        if not name and table.is_empty(position) and f"column_{position + 1}" not in options.ignore
    ]
    index = find_index(names, options.index, selected, table.are_row_numbers)
    sent: list[str | None] = [*names]
    if index.position is not None and index.position not in empty:
        sent[index.position] = index.name
    else:
        index = Index(None)
    for position in empty:
        sent[position] = None
    return check_names(sent, options.ignore, selected, errors, f"Line {line}: ", hint), index, empty


def _written_names(first: Record, selected: Collection[str] | None) -> Iterator[str]:
    """Yield the names in a record: spaces at the ends count in quotes only, and formulas are not escaped.

    A name that a model reads is taken as it is, or without the spaces that other programs put into quotes.
    """
    for cell, in_quotes in zip(first.cells, first.in_quotes, strict=True):
        stripped, name = cell.strip(), with_formula(cell if in_quotes else cell.strip())
        yield next((each for each in (cell, stripped, name.strip()) if each in (selected or ())), name)


def _empty_warnings(positions: Sequence[int]) -> Iterator[str]:
    """Say which columns are left out because they have neither a name nor values."""
    if len(positions) == 1:
        yield f"Column {positions[0] + 1} has no name and no values, and is left out."
    elif positions:
        listed = ", ".join(str(position + 1) for position in positions[:_MAX_LISTED])
        more = ", …" if len(positions) > _MAX_LISTED else ""
        yield f"Columns {listed}{more} have no names and no values, and are left out."


def _numbered_names(table: _Table, options: ReadOptions, errors: ErrorCollector) -> list[str | None]:
    """Return `column_1`, `column_2`, … for a file without a header."""
    if options.index != "auto":
        remedy = "leave the first one out with `?ignore=column_1`"
        errors.add("?index", f"Columns without a header have no index; {remedy}.")
    names = [f"column_{n}" for n in range(1, len(table.first.cells) + 1)]
    return check_names(names, options.ignore, None, errors)


def _is_integer(cell: str) -> bool:
    return cell.isascii() and cell.isdigit()
