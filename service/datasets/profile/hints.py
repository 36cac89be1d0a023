"""Hints in the report on a dataset: columns that look like numbers or dates in another form."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.profile.summary import ColumnSummary
from service.datasets.sources.cell_texts import from_format
from service.datasets.sources.columns import TEXT
from service.datasets.sources.text_columns import find_type_mismatches
from service.datasets.sources.text_hints import COMPACT_DATE, TextHint, explain_texts, likely_gaps
from service.datasets.validation import count_of, quote_value
from service.specs.reading import CellOptions

_HINT_ROWS = 1000
_MAX_NAMED = 5  # columns in one sentence
_MAX_TYPED = 50  # columns in one query
_FIRST_DATE, _LAST_DATE = 1900_01_01, 2100_12_31


def find_hint(
    column: pa.ChunkedArray, sample: pa.ChunkedArray, options: CellOptions
) -> TextHint | str | None:
    """Find out whether text may be meant as numbers or times.

    Args:
        column: large_string, [rows].
        sample: Some rows of the column, spread over all.
        options: The options by which it was read.

    Returns:
        What it looks like; or, if it would be numbers or times but for some cells, the end of a sentence
        about these; None for other text.
    """
    hint = explain_texts(sample.slice(0, _HINT_ROWS), options, column)
    if hint is not None and (hint.query or not hint.type_name):
        return hint
    mismatches = find_type_mismatches(column, sample, options)
    if mismatches is None:
        return hint
    row = int(mismatches.rows[0])
    found = f"{count_of(len(mismatches.rows), 'value')} of {len(column)}"
    remedy = ""
    if words := likely_gaps(column.take(pa.array(mismatches.rows))):
        remedy = f" If they mean missing values, upload with `missing={','.join(words)}`."
    return (
        f"is read as text because {found} can't be read as a {mismatches.noun}, the first "
        f"{quote_value(column[row].as_py())} in row {row}.{remedy}"
    )


def hint_warnings(hints: Mapping[str, TextHint]) -> Iterator[str]:
    """Warn of columns of text that look like numbers or times: once for all that have the same remedy."""
    alike: dict[TextHint, list[str]] = {}
    for name, hint in hints.items():
        alike.setdefault(hint, []).append(name)
    for hint, names in alike.items():
        is_one = len(names) == 1
        verb, them = ("is read as text and looks", "it") if is_one else ("are read as text and look", "them")
        remedy = ""
        if hint.type_name and len(names) <= _MAX_TYPED:
            query = hint.query or "types=" + ",".join(f"{name}:{hint.type_name}" for name in names)
            remedy = f"; upload with `{query}` to read {them} so"
        elif hint.type_name:
            remedy = f"; upload with `types`, `{hint.type_name}` for each, to read them so"
        yield f"{_listed(names)} {verb} like {hint.looks}{remedy}."


def _listed(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names[:_MAX_NAMED]]
    if len(names) > _MAX_NAMED:
        return f"{', '.join(shown)} and {count_of(len(names) - _MAX_NAMED, 'more column')}"
    return " and ".join([*filter(None, [", ".join(shown[:-1])]), shown[-1]])


def compact_date_warnings(name: str, sample: pa.ChunkedArray, summary: ColumnSummary) -> Iterator[str]:
    """Warn of integers that are all dates such as 20240105."""
    is_in_range = summary.count > 0 and summary.min >= _FIRST_DATE and summary.max <= _LAST_DATE
    if is_in_range and pc.all(from_format(sample.drop_null().cast(TEXT), COMPACT_DATE).is_valid()).as_py():
        query = f"types={name}:datetime&dates={COMPACT_DATE.replace('%', '%25')}"
        found = f"integers that look like dates, such as {summary.min}"
        yield f"`{name}` has {found}; upload with `{query}` to read them so."
