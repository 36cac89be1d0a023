"""Tables in JSON as a list of rows, `[{"x": 1}, {"x": 2}]`."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from service.datasets.sources.columns import check_column_count, check_name
from service.datasets.sources.json_layout import JsonColumns, describe_value, layout_of_rows
from service.datasets.validation import SHOWN_ROWS, ErrorCollector, count_of, quote_name, quote_value
from service.errors import pointer_to
from service.specs.base import did_you_mean

# Cells whose key a row lacks take memory, although the request does not contain them: so many are allowed in
# any request, and this multiple of those that it contains.
_MAX_ABSENT_CELLS, _MAX_ABSENT_MULTIPLE = 2_000_000, 10
_MAX_NAMED = 5


def find_row_columns(
    rows: Any,
    pointer: str,
    selected: Collection[str] | None,
    errors: ErrorCollector,
    warnings: list[str] | None,
) -> JsonColumns:
    """Find the columns of a list of rows: all keys, in the order in which they appear.

    Args:
        rows: The list.
        pointer: Its pointer.
        selected: Names of the columns to read; None: all. Others are not checked.
        errors: Receives the errors.
        warnings: Receives a warning for each key that some rows lack, whose values are missing. None where
            each row needs the keys of the others, as for a model: a row has the same answer alone.

    Raises:
        InvalidRequest: There is no row that is an object, or there are too many columns.
    """
    if not isinstance(rows, list) or not rows:
        errors.fail(pointer, f"Give a list of objects, column name → value; found {describe_value(rows)}.")
    objects = _objects(rows, pointer, errors)
    counts = Counter(chain.from_iterable(objects))  # in the order of their first occurrence
    if not counts:
        errors.add(pointer_to(pointer, 0), "The rows have no columns.")
    check_column_count(counts, pointer, errors)
    names = [name for name in counts if selected is None or name in selected]
    lacking = _lacking_rows(rows, {name: counts[name] for name in names}, pointer, errors)
    if warnings is None:
        _add_lacking(lacking, pointer, errors)
    elif lacking:
        warnings.append(_lacking_warning(lacking, len(rows), counts))
    for name in names:
        first_row = next(number for number, row in enumerate(objects) if name in row)
        check_name(name, pointer_to(pointer, first_row, name), errors)
    values = {name: [row.get(name) for row in objects] for name in names}
    return JsonColumns(list(counts), values, len(rows), layout_of_rows(pointer))


def _objects(rows: Sequence[Any], pointer: str, errors: ErrorCollector) -> list[dict[str, Any]]:
    """Check that each row is an object; return the rows, with an empty object in place of another value."""
    others = [number for number, row in enumerate(rows) if not isinstance(row, dict)]
    if len(others) == len(rows):
        found, remedy = quote_value(rows[0]), 'send numbers without names as {"inputs": [[1, 2], …]}'
        errors.fail(pointer, f"A row must be an object, column name → value; found {found}; {remedy}.")
    if others:
        found = quote_value(rows[others[0]])
        detail = f"A row must be an object, column name → value; found {found}."
        _add_rows(pointer_to(pointer, others[0]), detail, others, errors)
    return [row if isinstance(row, dict) else {} for row in rows]


def _lacking_rows(
    rows: Sequence[Any], counts: Mapping[str, int], pointer: str, errors: ErrorCollector
) -> dict[str, list[int]]:
    """Return the numbers of the rows that lack a key, by key, without those keys that all rows have."""
    objects = {number: row for number, row in enumerate(rows) if isinstance(row, dict)}
    incomplete = [name for name, count in counts.items() if count < len(objects)]
    absent_cells = len(incomplete) * len(objects) - sum(counts[name] for name in incomplete)
    if absent_cells > _MAX_ABSENT_CELLS + _MAX_ABSENT_MULTIPLE * sum(counts.values()):
        detail = f"The rows have {len(counts)} different keys, of which most rows lack most"
        errors.fail(pointer, f"{detail}; send a table whose rows have the same columns.")
    return {name: [number for number, row in objects.items() if name not in row] for name in incomplete}


def _add_lacking(lacking: Mapping[str, Sequence[int]], pointer: str, errors: ErrorCollector) -> None:
    for name, numbers in lacking.items():
        remedy = "give every row the columns that the model reads, with null for a missing value"
        detail = f"{quote_name(name)} is missing; {remedy}."
        _add_rows(pointer_to(pointer, numbers[0]), detail, numbers, errors)


def _lacking_warning(lacking: Mapping[str, Sequence[int]], rows: int, names: Collection[str]) -> str:
    """Describe which rows lack which keys, with the similar name of a key that few rows have."""
    listed = []
    for name, numbers in [*lacking.items()][:_MAX_NAMED]:
        found = f"{quote_name(name)} in {len(numbers)} of {count_of(rows, 'row')}, the first row {numbers[0]}"
        is_rare = 2 * len(numbers) > rows
        similar = did_you_mean(name, [each for each in names if each != name]) if is_rare else ""
        listed.append(found + similar.rstrip("?"))
    if len(lacking) > len(listed):
        listed.append(count_of(len(lacking) - len(listed), "more column"))
    end = "?" if "did you mean" in listed[-1] else "."
    return f"The value of a key that a row lacks is missing: {'; '.join(listed)}{end}"


def _add_rows(pointer: str, detail: str, rows: Sequence[int], errors: ErrorCollector) -> None:
    errors.add_rows(pointer, detail, rows[: SHOWN_ROWS + 1], len(rows), detail)
