"""The first records of a CSV file, from which its header and its dialect are read."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from service.specs.upload import SPACES

MAX_SAMPLE_ROWS: Final = 1000
_MAX_SAMPLE_CHARACTERS = 2**18
_EMPTY_LINES = re.compile(r"[\r\n]*+")
_SPACED_LINES = re.compile(r"[ \t\r\n]*+")
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")
_MISSING = re.compile(r"(n/?a|nan|null)?", re.IGNORECASE)


class Record(NamedTuple):
    """A record.

    Attributes:
        cells: Texts of the cells, without quotes.
        in_quotes: Whether each cell is in quotes, as a whole.
        quoted: Whether each cell is in quotes although it contains nothing that needs them.
        line: Number of lines before the record, counted from the start of the sample.
        end: Number of characters up to the end of the record.
        is_open: Whether a cell has an opening quote that is not closed.
    """

    cells: list[str]
    in_quotes: list[bool]
    quoted: list[bool]
    line: int
    end: int
    is_open: bool

    def is_empty(self, position: int) -> bool:
        """Return whether nothing is written in a cell, not even quotes."""
        return not self.quoted[position] and not self.cells[position].strip()


def records(lines: str, delimiter: str) -> Iterator[Record]:
    """Yield the records that are not empty.

    A quote opens a cell only as its first character.

    Args:
        lines: The text, from the start of a line on.
        delimiter: One character, or `SPACES`.
    """
    cell, indent = _cell_pattern(delimiter), _SPACED_LINES if delimiter == SPACES else _EMPTY_LINES
    start = line = 0
    while start < len(lines):
        end = start + len(indent.match(lines, start)[0])  # type: ignore[index]  # it always matches
        line += _line_ends(lines[start:end])
        start = end
        cells, in_quotes, quoted, is_open = [], [], [], False
        while match := cell.match(lines, end):
            end = match.end()
            inner, outer, text, separator = match.groups()
            cells.append(text if inner is None else inner.replace('""', '"') + outer)
            in_quotes.append(inner is not None and not outer)
            quoted.append(in_quotes[-1] and _needs_no_quotes(inner, delimiter))
            is_open |= inner is None and text.startswith('"')
            if separator is None:  # the end of the line
                break
        if cells != [""]:
            yield Record(cells, in_quotes, quoted, line, end, is_open)
        line += _line_ends(lines[start:end])
        start = end


def read_sample(lines: str, delimiter: str) -> list[Record]:
    """Read the first record and up to 1000 more."""
    sample: list[Record] = []
    for record in records(lines, delimiter):
        sample.append(record)
        is_long = record.end - sample[0].end > _MAX_SAMPLE_CHARACTERS
        if record.is_open or len(sample) > MAX_SAMPLE_ROWS or (is_long and len(sample) > 2):
            break
    return sample


@cache
def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    """Match a cell up to the next one: text in quotes, text after the quotes; other text; the delimiter."""
    between, other = (r"[ \t]+", r"[^ \t\r\n]*") if delimiter == SPACES else _one_character(delimiter)
    end = r"[ \t]*(?:\r\n|\r|\n|\Z)" if delimiter == SPACES else r"\r\n|\r|\n|\Z"
    return re.compile(rf'(?:"((?:[^"]|"")*+)"({other})|({other}))(?:{end}|({between}))')


def _one_character(delimiter: str) -> tuple[str, str]:
    """Return the patterns of the delimiter and of a cell's text."""
    return re.escape(delimiter), rf"[^{re.escape(delimiter)}\r\n]*"


def _needs_no_quotes(text: str, delimiter: str) -> bool:
    return not any(
        character in text for character in ('"', "\r", "\n", " " if delimiter == SPACES else delimiter)
    )


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def is_number(text: str) -> bool:
    """Return whether a cell is a decimal number, with a point or a comma."""
    return _NUMBER.fullmatch(text) is not None


def is_missing(text: str) -> bool:
    """Return whether an unquoted cell is empty or a common word for a missing value."""
    return _MISSING.fullmatch(text.strip()) is not None


def usual_width(rows: Sequence[Record]) -> int | None:
    """Return the number of cells that more than half of the rows have; None if there is none."""
    width, count = max(
        Counter(len(row.cells) for row in rows).items(), key=lambda item: item[1], default=(0, 0)
    )
    return width if 2 * count > len(rows) else None


def columns_of_numbers(rows: Sequence[Record]) -> int:
    """Return how many columns of rows of equal width have only numbers, apart from missing cells."""
    return sum(
        any(map(is_number, cells)) and all(is_number(cell) or is_missing(cell) for cell in cells)
        for cells in zip(*(row.cells for row in rows), strict=False)
    )


def quoted_columns(rows: Sequence[Record]) -> set[int]:
    """Return the positions of the columns of numbers that are all quoted without need.

    They are text for the program that wrote the file (zip codes written by R, for instance), if it leaves
    other values unquoted. Otherwise it quotes everything, and the quotes say nothing.
    """
    if not any(
        not quoted and not is_missing(cell) and '"' not in cell
        for row in rows
        for cell, quoted in zip(row.cells, row.quoted, strict=True)
    ):
        return set()
    return {
        position
        for position, cells in enumerate(
            zip(*(zip(row.cells, row.quoted, strict=True) for row in rows), strict=False)
        )
        if any(quoted and is_number(cell) for cell, quoted in cells)
        and all((quoted and is_number(cell)) or is_missing(cell) for cell, quoted in cells)
    }
