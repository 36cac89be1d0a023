"""Rows of a CSV file with too many or too few values, reported as one error."""

from service.datasets.validation import ErrorCollector, count_of

_MAX_NAMED = 5


class RaggedRows:
    """Collect the ragged rows of a file.

    Args:
        columns: Number of columns of the table.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._count = 0
        self._named: list[str] = []
        self._has_escaped_quotes = False

    def add(self, line: int | None, values: int, has_escaped_quote: bool = False) -> None:
        """Add a row.

        Args:
            line: Number of its last line; None if it is unknown.
            values: Number of its values.
            has_escaped_quote: Whether it contains a quote after a backslash.
        """
        self._count += 1
        self._has_escaped_quotes |= has_escaped_quote
        if line is not None and len(self._named) < _MAX_NAMED:
            self._named.append(f"line {line} has {values}")

    def report(self, errors: ErrorCollector) -> None:
        """Add the error, if there are ragged rows; later calls add nothing."""
        if not self._count:
            return
        found = (
            f"{count_of(self._count, 'row')} {'has' if self._count == 1 else 'have'} another number of values"
        )
        named = ", ".join(self._named) + (", …" if self._count > len(self._named) else "")
        hint = ""
        if self._has_escaped_quotes:
            hint = ' In a quoted cell a quote is written twice (""); a backslash does not escape it.'
        where = f": {named}" if self._named else ""
        errors.add("#", f"The table has {count_of(self._columns, 'column')}, and {found}{where}.{hint}")
        self._count = 0
