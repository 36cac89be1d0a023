"""The column names of a file, of any format."""

from collections.abc import Collection, Sequence
from functools import partial

from service.datasets.sources.columns import check_name, unknown_column
from service.datasets.validation import ErrorCollector, quote_name
from service.errors import pointer_to


def check_names(
    names: Sequence[str | None],
    ignored: Collection[str],
    selected: Collection[str] | None,
    errors: ErrorCollector,
    prefix: str = "",
    hint: str = "",
) -> list[str | None]:
    """Check the column names of a file.

    Args:
        names: The names; empty for a column without a name, None for one that is left out.
        ignored: Names of columns to leave out; `column_3` is the third one if it has no name.
        selected: Names of the columns to read; None: all. The names of other columns are not checked.
        errors: Receives an error for each column to read whose name is empty, repeated or invalid, and
            without `selected` for each name in `ignored` that no column has.
        prefix: Start of each message, for instance the line.
        hint: A further remedy for names that are empty or repeated.

    Returns:
        The names; None for a column that is left out, for an empty name and for a repetition.
    """
    ignored = dict.fromkeys(ignored)
    numbered = [name if name != "" else _by_number(n, ignored) for n, name in enumerate(names, start=1)]
    present = set(numbered)
    for unknown in (name for name in ignored if name not in present and selected is None):
        errors.add("?ignore", partial(unknown_column, unknown, [name for name in numbered if name]))
    first: dict[str, int] = {}
    unnamed: list[int] = []
    left: list[str | None] = [None if name in ignored else name for name in numbered]
    before = errors.count
    for number, name in enumerate(left, start=1):
        if name is None:
            continue
        is_checked = selected is None or name in selected
        name_errors = errors if is_checked else ErrorCollector()  # discarded
        if not name:
            unnamed += [number] if is_checked else []
        elif name in first:
            name_errors.add(
                "#", f"{prefix}columns {first[name]} and {number} are both called {quote_name(name)}{hint}."
            )
        else:
            check_name(name, pointer_to("#/columns", name), name_errors)
            first[name] = number
    if unnamed:
        errors.add("#", f"{prefix}{_unnamed_problem(unnamed)}{hint}.")
    if not first and errors.count == before:
        errors.add("#", f"{prefix}no column is left to read.")
    return [name if name and first.get(name) == number else None for number, name in enumerate(left, start=1)]


def _by_number(number: int, ignored: Collection[str]) -> str:
    name = f"column_{number}"
    return name if name in ignored else ""


def _unnamed_problem(numbers: Sequence[int]) -> str:
    names = ",".join(f"column_{number}" for number in numbers)
    if len(numbers) == 1:
        return f"column {numbers[0]} has no name; name it, or leave it out with `?ignore={names}`"
    listed = ", ".join(map(str, numbers))
    return f"columns {listed} have no name; name them, or leave them out with `?ignore={names}`"
