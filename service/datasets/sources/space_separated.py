"""Text files whose columns are separated by runs of spaces, rewritten with tabs."""

import mmap
import re
from pathlib import Path

from service.datasets.sources.csv_records import Records, Text
from service.datasets.validation import ErrorCollector

# A quoted cell (group 1), which is kept; spaces at either end of a line (group 2); spaces between cells.
_CELLS = re.compile(
    rb'((?<![^ \t\r\n])"(?:[^"]|"")*+")|((?<![^\r\n])[ \t]++|(?<![ \t])[ \t]++(?=[\r\n]|\Z))|[ \t]++'
)


def separate_by_tabs(path: Path, text: Text, start: int, errors: ErrorCollector) -> Text:
    """Write a copy in which one tab separates two cells; its lines are those of the text.

    Args:
        path: Path of the file, beside which the copy is written.
        text: The text, in UTF-8.
        start: Offset of the first row. The text before it is copied as it is.
        errors: Raised with the error of a record that can't be read.

    Raises:
        InvalidRequest: A quote is not closed, or a record is too long.
    """
    copy = path.with_name(f"{path.name}.tabs")
    records = Records(text, start, " \t")
    with copy.open("wb") as file:
        file.write(text[:start])
        for block in records.blocks(errors):
            part = text[slice(*block)]
            if records.has_quotes(*block):
                file.write(_CELLS.sub(_separate, part))
            else:
                file.writelines(b"%b\n" % b"\t".join(line.split()) for line in part.splitlines())
    if copy.stat().st_size == 0:  # can't be mapped
        return b""
    with copy.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _separate(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return match[1]
    return b"\t" if match[2] is None else b""
