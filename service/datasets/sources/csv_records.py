"""Block boundaries in a CSV file that fall between records, found without parsing the records."""

import mmap
import re
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.validation import ErrorCollector

BLOCK_BYTES: Final = 16 * 2**20
MAX_RECORD_BYTES: Final = 64 * 2**20
_QUOTE, _ZERO, _X = map(ord, '"0x')
_LOWER = ord("x") ^ ord("X")  # the bit that distinguishes lower from upper case
_SCAN_BYTES = 2**16

Text = bytes | mmap.mmap
"""A text in UTF-8, in memory or mapped from a file."""


class Records:
    """Split a text into blocks of whole records.

    A quote opens a cell only as its first character. Inside quotes, two quotes mean one, and line ends are
    text.

    Args:
        text: The whole file.
        start: Offset of the first record.
        delimiter: One ASCII character.
    """

    def __init__(self, text: Text, start: int, delimiter: str) -> None:
        self._text = text
        self._start = start
        separators = f"{delimiter}\r\n".encode()
        # Indexed by byte: true for bytes that may adjoin the outer quotes of a cell. A quote is one of them:
        # a doubled quote closes the cell and reopens it, which leaves the same regions quoted.
        self._beside_quotes = np.zeros(256, np.bool_)
        self._beside_quotes[[*separators, _QUOTE]] = True
        # Likewise for bytes that may precede the text of a cell.
        self._before_cells = self._beside_quotes.copy()
        self._before_cells[ord(" ")] = True
        # A quoted cell: a quote at the start or after a separator, up to the closing quote (group 1, empty if
        # there is none).
        self._cell = re.compile(rb'"(?<![^%b]")(?:[^"]|"")*+("?)' % re.escape(separators))
        # A quote after a backslash that does not close a cell.
        self._escaped_quote = re.compile(rb'\\"(?![%b"]|\Z)' % re.escape(separators))

    def blocks(self, errors: ErrorCollector, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, int]]:
        """Yield the offsets of the start and end of blocks of whole records.

        Args:
            errors: Raised with the error that ends the iteration, if there is one.
            block_bytes: Size of a block; a block is larger only if a single record is.

        Raises:
            InvalidRequest: A quote is not closed, or a record is longer than 64 MiB.
        """
        start, size = self._start, block_bytes
        while start < len(self._text):
            end = self._last_end(start, min(start + size, len(self._text)), errors)
            if end > start:
                yield start, end
                start, size = end, block_bytes
            elif size < MAX_RECORD_BYTES:
                size *= 2
            else:
                limit = f"{MAX_RECORD_BYTES // 2**20} MiB"
                errors.fail("#", f"The record that starts in line {self.line(start)} is longer than {limit}.")

    def line(self, offset: int) -> int:
        """Return the number of the line at an offset, from 1."""
        lines, previous = 1, 0
        for start in range(0, offset, BLOCK_BYTES):
            part = self._text[start : min(start + BLOCK_BYTES, offset)]
            lines += part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n")
            lines -= previous == ord("\r") and part[0] == ord("\n")  # a line end split between two parts
            previous = part[-1]
        return lines

    def escaped_quote_warnings(self) -> Iterator[str]:
        """Warn of quotes that a backslash is meant to escape."""
        if found := self._escaped_quote.search(self._text, self._start):
            remedy = 'in CSV a quote within quotes is written twice ("")'
            line = self.line(found.start())
            yield f'Line {line} has a backslash before a quote (\\"), which is read as text; {remedy}.'

    def has_quotes(self, start: int, end: int) -> bool:
        """Return whether a block contains a quote."""
        return self._text.find(b'"', start, end) >= 0

    def may_have_padded_numbers(self, start: int, end: int) -> bool:
        """Return whether a cell in a block may begin with 0 and another digit, or with 0x.

        The search costs about a twentieth of parsing; a cell that is found may also be a date or a time.
        """
        part = np.frombuffer(self._text, np.uint8, end - start, start)  # [end - start]
        if re.match(rb"0[\dxX]", part[:2].data):
            return True
        for offset in range(0, len(part) - 2, _SCAN_BYTES):  # windows that fit into the processor's cache
            window = part[offset : offset + _SCAN_BYTES + 2]
            following = window[2:]  # a byte below `0` wraps around to more than 10
            padded = (window[1:-1] == _ZERO) & ((following - _ZERO < 10) | (following | _LOWER == _X))
            before = window[:-2][np.flatnonzero(padded)]
            if self._before_cells[before].any():
                return True
        return False

    def _last_end(self, start: int, end: int, errors: ErrorCollector) -> int:
        """Return the end of the last whole record in a part of the text; `start` if no record ends in it."""
        quotes = self._quotes(start, end)
        is_last = end == len(self._text)
        if is_last and len(quotes) % 2:
            line = self.line(self._line_end(start, quotes[:-1], int(quotes[-1])))
            errors.fail(
                "#", f"The record that starts in line {line} has an opening quote that is not closed."
            )
        return end if is_last else self._line_end(start, quotes, end)

    def _quotes(self, start: int, end: int) -> NDArray[np.int64]:
        """Return the offsets of the quotes that alternately open and close cells, int64 [quotes].

        Args:
            start: Start of a record.
            end: End of the part of the text to search, anywhere in a record.
        """
        part = np.frombuffer(self._text, np.uint8, end - start, start)  # [end - start]
        quotes = np.flatnonzero(part == _QUOTE)
        opening, closing = quotes[::2], quotes[1::2]
        before = part[opening[opening > 0] - 1]
        after = part[closing[closing + 1 < len(part)] + 1]
        if self._beside_quotes[before].all() and self._beside_quotes[after].all():
            return quotes + start
        # Some quotes are text inside unquoted cells: only a sequential scan can tell which.
        found = [
            offset
            for cell in self._cell.finditer(part.data)
            for offset in (cell.start(), cell.end() - 1)[: 1 + len(cell[1])]
        ]
        return np.array(found, np.int64) + start

    def _line_end(self, start: int, quotes: NDArray[np.int64], end: int) -> int:
        """Return the offset after the last unquoted line end before `end`; `start` if there is none."""
        while end > start:
            # Text before `end` is quoted if an odd number of quotes precedes it.
            before = int(np.searchsorted(quotes, end))
            if before % 2:
                end = int(quotes[before - 1])  # continue before the cell that is open at `end`
                continue
            unquoted_start = int(quotes[before - 1]) + 1 if before else start
            line_end = self._text.rfind(b"\n", unquoted_start, end)
            line_end = line_end if line_end >= 0 else self._text.rfind(b"\r", unquoted_start, end)
            if line_end >= 0:
                return line_end + 1
            end = unquoted_start - 1  # the closing quote: continue inside the cell that it closes
        return start
