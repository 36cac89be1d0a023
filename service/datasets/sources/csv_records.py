"""Where the records of a CSV end, found without reading them: so that it can be read block by block."""

import mmap
import re
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.validation import ErrorCollector

BLOCK_BYTES: Final = 16 * 2**20
LONGEST_RECORD_BYTES: Final = 64 * 2**20
_QUOTE = ord('"')

Text = bytes | mmap.mmap
"""A text in UTF-8, in memory or mapped from a file."""


class Records:
    """The records of a text, in blocks.

    A quote counts only where it begins a cell; within quotes two quotes are one, and line ends are text.

    Args:
        text: the whole file.
        start: where the first record begins.
        delimiter: one ASCII character.
    """

    def __init__(self, text: Text, start: int, delimiter: str) -> None:
        self._text = text
        self._start = start
        around = f"{delimiter}\r\n".encode()
        self._beside_quotes = np.zeros(256, np.bool_)
        self._beside_quotes[[*around, _QUOTE]] = True
        outside = re.escape(around)
        self._cell = re.compile(rb'"(?<![^%b]")(?:[^"]|"")*+("?)' % outside)

    def blocks(self, errors: ErrorCollector, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, int]]:
        """Where blocks of whole records begin and end; what can't be a record is an error.

        Raises:
            InvalidRequest: a quote is left open, or a record is longer than 64 MiB.
        """
        start, size = self._start, block_bytes
        while start < len(self._text):
            end = self._last_end(start, min(start + size, len(self._text)), errors)
            if end > start:
                yield start, end
                start, size = end, block_bytes
            elif size < LONGEST_RECORD_BYTES:
                size *= 2
            else:
                longest = f"{LONGEST_RECORD_BYTES // 2**20} MiB"
                errors.fail("#", f"Line {self.line(start)}: a record of more than {longest} begins here.")

    def line(self, offset: int) -> int:
        """The number of the line at an offset, from 1."""
        lines, previous = 1, 0
        for begin in range(0, offset, BLOCK_BYTES):
            part = self._text[begin : min(begin + BLOCK_BYTES, offset)]
            lines += part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n")
            lines -= previous == ord("\r") and part[0] == ord("\n")  # one line end, cut in two
            previous = part[-1]
        return lines

    def has_quotes(self, start: int, end: int) -> bool:
        """Whether there is a quote anywhere in a block."""
        return self._text.find(b'"', start, end) >= 0

    def _bytes(self, start: int, end: int) -> NDArray[np.uint8]:
        return np.frombuffer(self._text, np.uint8, end - start, start)

    def _last_end(self, start: int, end: int, errors: ErrorCollector) -> int:
        """The end of the last whole record in a part of the text; `start` if there is none."""
        quotes = self._quotes(start, end)
        is_last = end == len(self._text)
        if is_last and len(quotes) % 2:
            line = self.line(self._line_end(start, quotes[:-1], int(quotes[-1])))
            errors.fail("#", f"The record from line {line} on has no end: a quote is left open.")
        return end if is_last else self._line_end(start, quotes, end)

    def _quotes(self, start: int, end: int) -> NDArray[np.int64]:
        """The offsets of the quotes that open and close cells, in turn."""
        part = self._bytes(start, end)
        quotes = np.flatnonzero(part == _QUOTE)
        opening, closing = quotes[::2], quotes[1::2]
        before = part[opening[opening > 0] - 1]
        after = part[closing[closing + 1 < len(part)] + 1]
        if self._beside_quotes[before].all() and self._beside_quotes[after].all():
            return quotes + start
        # Some quotes are text: only a scan tells which.
        found = [
            offset
            for cell in self._cell.finditer(part.data)
            for offset in (cell.start(), cell.end() - 1)[: 1 + len(cell[1])]
        ]
        return np.array(found, np.int64) + start

    def _line_end(self, start: int, quotes: NDArray[np.int64], end: int) -> int:
        """The offset after the last line end before `end` that is not within quotes; else `start`."""
        while end > start:
            before = int(np.searchsorted(quotes, end))
            if before % 2:  # within a cell: go on before it
                end = int(quotes[before - 1])
                continue
            begin = int(quotes[before - 1]) + 1 if before else start
            found = self._text.rfind(b"\n", begin, end)
            found = found if found >= 0 else self._text.rfind(b"\r", begin, end)
            if found >= 0:
                return found + 1
            end = begin - 1
        return start
