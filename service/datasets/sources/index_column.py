"""The index of a data frame: an unnamed first column of a CSV file, or pandas' `__index_level_0__`."""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from service.specs.upload import IndexColumn

INDEX: Final = "index"
"""Name of the index where it is read as a column."""
_PANDAS_INDEX = "__index_level_0__"  # in Parquet and Arrow
_SAVED_INDEX = "Unnamed: 0"  # pandas' name for an index that it has read from a CSV file as a column


class Index(NamedTuple):
    """The index among the columns of a file.

    Attributes:
        position: Its position; None if the file has no index.
        name: The name under which it is read; None: it is not read.
        warnings: What the client should know about it.
    """

    position: int | None
    name: str | None = None
    warnings: Sequence[str] = ()


def find_index(
    names: Sequence[str],
    option: IndexColumn,
    selected: Collection[str] | None,
    are_row_numbers: Callable[[int], bool],
) -> Index:
    """Find the index and decide whether it is read.

    Args:
        names: The names of all columns, as sent.
        option: What the client wants.
        selected: Names of the columns to read; None: all. An index is then read if it is named.
        are_row_numbers: Returns whether a column, given by position, consists of row numbers: integers that
            are all different.
    """
    position = names.index(_PANDAS_INDEX) if _PANDAS_INDEX in names else 0
    sent = names[position]
    if len(names) == 1 or sent not in ("", _PANDAS_INDEX, _SAVED_INDEX):
        return Index(None)
    name = _free_name(names)
    if selected is not None:
        return Index(position, next((each for each in (sent, name) if each in selected), None))
    if option != "auto":
        return Index(position, name if option == "keep" else None)
    if are_row_numbers(position):
        found = f"`{sent}`" if sent else "the first column, which has no name,"
        remedy = "`?index=keep` reads them as a column"
        return Index(position, None, [f"The row numbers in {found} are left out; {remedy}."])
    if sent == _SAVED_INDEX:
        return Index(None)
    found = f"`{sent}`" if sent else "the first column, which has no name"
    return Index(position, name, [f"The column `{name}` is {found}; `?index=drop` leaves it out."])


def _free_name(names: Sequence[str]) -> str:
    return next(name for n in range(len(names) + 1) if (name := f"{INDEX}_{n}" if n else INDEX) not in names)
