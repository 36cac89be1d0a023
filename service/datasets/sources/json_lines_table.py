"""JSON Lines as tables, read block by block with column types inferred from the whole file."""

import codecs
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import orjson
import pyarrow as pa

from service.datasets.dataset import Batches, with_options
from service.datasets.sources.columns import RowPointers, check_name, check_types
from service.datasets.sources.json_cells import CellReader, CellTypes
from service.datasets.sources.json_lines import LineErrors, parse_lines
from service.datasets.sources.json_rows import (
    Lacking,
    add_lacking,
    check_absent_cells,
    lacking_warning,
    only_objects,
    refuse_values,
)
from service.datasets.validation import SHOWN_ROWS, ErrorCollector
from service.errors import pointer_to
from service.specs.json_size import check_size
from service.specs.transforms import MAX_COLUMNS
from service.specs.upload import ReadOptions

T = TypeVar("T")

# A parsed row takes about ten times its text.
_BLOCK_BYTES: Final = 4 * 2**20
_MAX_LINE_BYTES: Final = 64 * 2**20
_POINTER: Final = "#"


class _Block(NamedTuple):
    """Rows that are read at once.

    Attributes:
        first_row: Row number of the first of them.
        lines: The number of each row's line, by row number.
        rows: Their values.
    """

    first_row: int
    lines: Mapping[int, int]
    rows: Sequence[Any]


@dataclass
class _Key:
    """Types and gaps of a key of the rows, as far as they have been read.

    Attributes:
        types: Types of its values.
        lacking: The lines of the first rows that lack it, by row number.
        count: Number of rows that have it.
    """

    types: CellTypes
    lacking: dict[int, int]
    count: int = 0


@dataclass
class _Survey:
    """Keys and numbers of the rows, as far as they have been read.

    Attributes:
        keys: The keys, in the order of their first occurrence.
        rows: Number of rows.
        objects: Number of rows that are objects.
        first_lines: The lines of the first objects, by row number.
    """

    keys: dict[str, _Key] = field(default_factory=dict)
    rows: int = 0
    objects: int = 0
    first_lines: dict[int, int] = field(default_factory=dict)


class JsonLinesTable:
    """Reader of JSON Lines.

    The rows are read as those of a list in JSON; see `read_json`. They are read twice: the columns are all
    keys of all rows, and the type of a column is that of all its values.

    Args:
        path: The file.
        options: How to read the cells.
        selected: Names of the columns to read; None: all. Other columns get null values and are not checked.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name.
        block_bytes: Size of the text that is parsed at once; a line may be longer.

    Raises:
        NotJson: A line is not JSON; has the position of the error.
        InvalidRequest: There are no columns, or too many.
    """

    def __init__(
        self,
        path: Path,
        options: ReadOptions,
        selected: Collection[str] | None = None,
        known: Mapping[str, Collection[str]] | None = None,
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        self._path, self._block_bytes, self._selected = path, block_bytes, selected
        self._errors = LineErrors({})
        self._cells = CellReader(options, known, self._errors)
        self._keys = self._find_keys()
        if known is None:  # a model's missing columns are reported with its other errors
            check_types(options.types, self.column_names, "?types", self._errors)

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the columns."""
        return list(self._keys)

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about the reading; complete after `read`."""
        return list(dict.fromkeys(self._cells.warnings))

    def read(self, consume: Callable[[Batches], T]) -> T:
        """Read the rows.

        Args:
            consume: Processes the batches of rows.

        Returns:
            The result of `consume`.

        Raises:
            InvalidRequest: The file has errors; lists the first 100 and counts all.
        """
        return consume(self._batches())

    def _find_keys(self) -> dict[str, _Key]:
        """Read the rows once, to find the columns and their types."""
        survey, first, repeated = _Survey(), None, ErrorCollector()
        for block in self._blocks(repeated):
            first = block.rows[0] if first is None else first
            self._errors.lines = block.lines
            self._add_block(block, survey)
        self._errors.extend(repeated)
        if not survey.rows:
            self._errors.fail(
                _POINTER, "There are no rows; send an object, column name → value, in each line."
            )
        if not survey.objects:
            refuse_values(first, _POINTER, ErrorCollector(repeated))
        self._errors.lines = survey.first_lines
        if not survey.keys:
            self._errors.fail(pointer_to(_POINTER, min(survey.first_lines)), "The rows have no columns.")
        read = {name: key for name, key in survey.keys.items() if self._is_read(name)}
        check_absent_cells(
            {name: key.count for name, key in read.items()}, survey.objects, _POINTER, self._errors
        )
        self._report_lacking(read, survey)
        return survey.keys

    def _add_block(self, block: _Block, survey: _Survey) -> None:
        """Add the keys and types of some rows. Takes time for the cells that they have, not for all."""
        only_objects(block.rows, block.first_row, _POINTER, self._errors)
        numbered = {
            number: row for number, row in enumerate(block.rows, block.first_row) if isinstance(row, dict)
        }
        missing = SHOWN_ROWS + 1 - len(survey.first_lines)
        before = dict(survey.first_lines)
        survey.first_lines |= {row: block.lines[row] for row in islice(numbered, missing)}
        values = _values_by_key(numbered.values())
        if len(survey.keys.keys() | values.keys()) > MAX_COLUMNS:
            self._errors.fail(_POINTER, f"There are more than {MAX_COLUMNS} columns, the maximum.")
        new = {name for name in values if name not in survey.keys}
        first_rows = _first_rows(numbered, new)
        for name, found in values.items():
            if name in new:
                survey.keys[name] = _Key(self._cells.types_of(name), dict(before))
                if self._is_read(name):
                    check_name(name, pointer_to(_POINTER, first_rows[name], name), self._errors)
            if self._is_read(name):
                self._cells.add_types(name, found, survey.keys[name].types)
        for name, key in survey.keys.items():
            count = len(values.get(name, ()))
            key.count += count
            if count < len(numbered) and (missing := SHOWN_ROWS + 1 - len(key.lacking)):
                lacking = (number for number, row in numbered.items() if name not in row)
                key.lacking |= {number: block.lines[number] for number in islice(lacking, missing)}
        survey.rows += len(block.rows)
        survey.objects += len(numbered)

    def _report_lacking(self, keys: Mapping[str, _Key], survey: _Survey) -> None:
        lacking = {
            name: Lacking([*key.lacking], survey.objects - key.count)
            for name, key in keys.items()
            if key.count < survey.objects
        }
        if lacking and self._cells.known is None:
            self._cells.warnings.append(lacking_warning(lacking, survey.rows, survey.keys))
        elif lacking:
            lines: dict[int, int] = {}
            for name in lacking:
                lines |= keys[name].lacking
            self._errors.lines = lines
            add_lacking(lacking, _POINTER, self._errors)

    def _batches(self) -> Batches:
        """Yield the rows, converted to the types of the columns."""
        errors = LineErrors({}, self._errors)
        cells = replace(self._cells, errors=errors)
        for block in self._blocks():
            errors.lines = block.lines
            yield from self._convert(block, cells).to_batches()
        errors.raise_if_any()

    def _convert(self, block: _Block, cells: CellReader) -> pa.Table:
        objects = [row if isinstance(row, dict) else {} for row in block.rows]
        uniform = _uniform_columns(objects) or {}
        columns: dict[str, pa.ChunkedArray | pa.Array] = dict.fromkeys(self._keys, pa.nulls(len(objects)))
        for name, key in self._keys.items():
            if self._is_read(name):
                values = uniform.get(name) or [row.get(name) for row in objects]
                pointers = RowPointers(_POINTER, name, block.first_row)
                columns[name] = cells.read_piece(name, values, pointers, key.types)
        return with_options(pa.table(columns), cells.options, reads_gaps=False).combine_chunks()

    def _is_read(self, name: str) -> bool:
        return self._selected is None or name in self._selected

    def _blocks(self, errors: ErrorCollector | None = None) -> Iterator[_Block]:
        """Parse the lines that are not empty, block by block.

        Args:
            errors: Receives an error for each name that is repeated in an object; None if they were found.
        """
        rows = 0
        for first_line, text in self._texts():
            lines = {
                number: line for number, line in enumerate(text.split(b"\n"), first_line) if line.strip()
            }
            if not lines:
                continue
            parsed = _parse_quickly(text, lines.values(), errors is not None)
            if parsed is None:
                parsed = [
                    *parse_lines(lines.items(), rows, ErrorCollector() if errors is None else errors).values()
                ]
            yield _Block(rows, dict(enumerate(lines, rows)), parsed)
            rows += len(parsed)

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        """Yield the text in blocks of whole lines, with the number of the first line of each."""
        line, parts = 1, list[bytes]()
        with self._path.open("rb") as file:
            file.seek(len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0)
            while chunk := file.read(self._block_bytes):
                head, newline, rest = chunk.rpartition(b"\n")
                if newline:
                    text = b"".join([*parts, head])
                    yield line, text
                    line, parts = line + text.count(b"\n") + 1, []
                parts.append(rest)
                if sum(map(len, parts)) > _MAX_LINE_BYTES:
                    self._errors.fail(_POINTER, f"Line {line} has more than {_MAX_LINE_BYTES:,} bytes.")
        yield line, b"".join(parts)


def _uniform_columns(objects: Collection[dict[str, Any]]) -> dict[str, Sequence[Any]] | None:
    """Return the values of objects by key, if all have the same keys in the same order."""
    if len({*map(tuple, objects)}) != 1:
        return None
    return {name: list(map(itemgetter(name), objects)) for name in next(iter(objects))}


def _values_by_key(objects: Collection[dict[str, Any]]) -> Mapping[str, Sequence[Any]]:
    """Return the values that objects have, by key, in the order of the objects."""
    if (columns := _uniform_columns(objects)) is not None:
        return columns
    values = defaultdict[str, list[Any]](list)
    for row in objects:
        for name, value in row.items():
            values[name].append(value)
    return values


def _first_rows(objects: Mapping[int, dict[str, Any]], names: Collection[str]) -> dict[str, int]:
    """Return the number of the first row that has a key, by key; `objects` are by row number."""
    found: dict[str, int] = {}
    for number, row in objects.items():
        if len(found) == len(names):
            break
        for name in row:
            if name in names:
                found.setdefault(name, number)
    return found


def _parse_quickly(text: bytes, lines: Collection[bytes], is_checked: bool) -> list[Any] | None:
    """Parse lines, or return None if they may have errors, so that they must be parsed one by one.

    Args:
        text: All lines.
        lines: Those that are not empty.
        is_checked: Whether repeated names are looked for: the values of such a line have fewer colons.
    """
    check_size(text)
    try:
        rows = [orjson.loads(line) for line in lines]
        is_doubtful = is_checked and text.count(b":") > orjson.dumps(rows).count(b":")
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return None if is_doubtful else rows


def is_json_lines(path: Path) -> bool:
    """Return whether the first line of a file is a JSON object, and others follow."""
    with path.open("rb") as file:
        line = b"\n"
        while line.endswith(b"\n") and not line.removeprefix(codecs.BOM_UTF8).strip():
            line = file.readline(_MAX_LINE_BYTES)
        if not line.endswith(b"\n") or not _has_more(file.read):
            return False
    try:
        return isinstance(orjson.loads(line.removeprefix(codecs.BOM_UTF8)), dict)
    except orjson.JSONDecodeError:
        return False


def _has_more(read: Callable[[int], bytes]) -> bool:
    """Return whether a file has more than white space."""
    while piece := read(2**16):
        if piece.strip():
            return True
    return False
