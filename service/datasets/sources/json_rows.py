"""Tables in JSON as a list of rows, `[{"x": 1}, {"x": 2}]`."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, NoReturn

from service.datasets.sources.columns import check_column_count, check_name
from service.datasets.sources.json_layout import JsonColumns, describe_value, layout_of_rows
from service.datasets.validation import SHOWN_ROWS, ErrorCollector, count_of, quote_name, quote_value
from service.errors import pointer_to
from service.specs.base import did_you_mean

# Cells whose key a row lacks take memory, although the request does not contain them: so many are allowed in
# any request, and this multiple of those that it contains.
_MAX_ABSENT_CELLS, _MAX_ABSENT_MULTIPLE = 2_000_000, 10
_MAX_NAMED = 5
_NO_OBJECT = "A row must be an object, column name → value"


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
    if not any(isinstance(row, dict) for row in rows):
        refuse_values(rows[0], pointer, errors)
    objects = only_objects(rows, 0, pointer, errors)
    counts = Counter(chain.from_iterable(objects))  # in the order of their first occurrence
    if not counts:
        errors.add(pointer_to(pointer, 0), "The rows have no columns.")
    check_column_count(counts, pointer, errors)
    names = [name for name in counts if selected is None or name in selected]
    lacking = _lacking_rows(rows, {name: counts[name] for name in names}, pointer, errors)
    if warnings is None:
        add_lacking(lacking, pointer, errors)
    elif lacking:
        warnings.append(lacking_warning(lacking, len(rows), counts))
    for name in names:
        first_row = next(number for number, row in enumerate(objects) if name in row)
        check_name(name, pointer_to(pointer, first_row, name), errors)
    values = {name: [row.get(name) for row in objects] for name in names}
    return JsonColumns(list(counts), values, len(rows), layout_of_rows(pointer))


def only_objects(
    rows: Sequence[Any], first_row: int, pointer: str, errors: ErrorCollector
) -> list[dict[str, Any]]:
    """Add an error for the rows that are no objects; return the rows, with an empty object for each of them.

    Args:
        rows: A piece of the rows.
        first_row: Row number of the first of them.
        pointer: Pointer to the rows.
        errors: Receives the error.
    """
    others = [number for number, row in enumerate(rows) if not isinstance(row, dict)]
    if not others:
        return list(rows)
    detail = f"{_NO_OBJECT}; found {quote_value(rows[others[0]])}."
    shown = [first_row + number for number in others[: SHOWN_ROWS + 1]]
    errors.add_rows(pointer_to(pointer, shown[0]), detail, shown, len(others), (pointer, _NO_OBJECT))
    return [row if isinstance(row, dict) else {} for row in rows]


def refuse_values(first: Any, pointer: str, errors: ErrorCollector) -> NoReturn:
    """Refuse rows of which none is an object, with the first of them."""
    remedy = 'send numbers without names as {"inputs": [[1, 2], …]}'
    errors.fail(pointer, f"{_NO_OBJECT}; found {quote_value(first)}; {remedy}.")


class Lacking(NamedTuple):
    """The rows that lack a key.

    Attributes:
        rows: The numbers of the first of them; more than are shown, if there are more.
        total: Number of all of them.
    """

    rows: Sequence[int]
    total: int


def _lacking_rows(
    rows: Sequence[Any], counts: Mapping[str, int], pointer: str, errors: ErrorCollector
) -> dict[str, Lacking]:
    """Return the rows that lack a key, by key, without those keys that all rows have."""
    objects = {number: row for number, row in enumerate(rows) if isinstance(row, dict)}
    check_absent_cells(counts, len(objects), pointer, errors)
    incomplete = [name for name, count in counts.items() if count < len(objects)]
    found = {}
    for name in incomplete:
        lacking = (number for number, row in objects.items() if name not in row)
        found[name] = Lacking([*islice(lacking, SHOWN_ROWS + 1)], len(objects) - counts[name])
    return found


def check_absent_cells(counts: Mapping[str, int], rows: int, pointer: str, errors: ErrorCollector) -> None:
    """Check the number of cells whose key a row lacks.

    Args:
        counts: Number of rows that have a key, by key.
        rows: Number of all rows.
        pointer: Pointer to the rows.
        errors: The errors found before.

    Raises:
        InvalidRequest: They are more than are allowed.
    """
    present = sum(counts.values())
    if len(counts) * rows - present > _MAX_ABSENT_CELLS + _MAX_ABSENT_MULTIPLE * present:
        detail = f"The rows have {len(counts)} different keys, of which most rows lack most"
        errors.fail(pointer, f"{detail}; send a table whose rows have the same columns.")


def add_lacking(lacking: Mapping[str, Lacking], pointer: str, errors: ErrorCollector) -> None:
    """Add an error for each key that some rows lack."""
    for name, (rows, count) in lacking.items():
        remedy = "give every row the columns that the model reads, with null for a missing value"
        detail = f"{quote_name(name)} is missing; {remedy}."
        errors.add_rows(pointer_to(pointer, rows[0]), detail, rows, count, detail)


def lacking_warning(lacking: Mapping[str, Lacking], rows: int, names: Collection[str]) -> str:
    """Describe which rows lack which keys, with the similar name of a key that few rows have."""
    listed = []
    for name, (numbers, count) in [*lacking.items()][:_MAX_NAMED]:
        found = f"{quote_name(name)} in {count} of {count_of(rows, 'row')}, the first row {numbers[0]}"
        is_rare = 2 * count > rows
        similar = did_you_mean(name, [each for each in names if each != name]) if is_rare else ""
        listed.append(found + similar.rstrip("?"))
    if len(lacking) > len(listed):
        listed.append(count_of(len(lacking) - len(listed), "more column"))
    end = "?" if "did you mean" in listed[-1] else "."
    return f"The value of a key that a row lacks is missing: {'; '.join(listed)}{end}"
