"""Answers with a table, as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from fastapi import Response

from service.api.http.negotiation import CSV
from service.api.http.requests import Query
from service.datasets.formulas import without_formula

Formulas = Literal["escape", "keep"]


class TableQuery(Query):
    """Format of a table."""

    format: Literal["json", "csv"] | None = None
    """Format of the answer. Default: by `Accept`, otherwise `json`."""
    formulas: Formulas = "escape"
    """For CSV: `escape` writes an apostrophe before text that a spreadsheet would run as a formula, which \
begins with `=`, `+`, `-`, `@`, a tab or a line break; `keep` leaves it as it is."""


def csv_response(
    columns: Sequence[str],
    rows: Iterable[Iterable[Any]],
    query: TableQuery,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a table as CSV; null is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    escape = without_formula if query.formulas == "escape" else _unchanged
    writer.writerow(map(escape, columns))
    writer.writerows([escape(_cell(value)) for value in row] for row in rows)
    return Response(text.getvalue(), headers=dict(headers or {}), media_type=CSV)


def records_response(
    records: Iterable[Mapping[str, Any]], query: TableQuery, headers: Mapping[str, str] | None = None
) -> Response:
    """Return records as CSV: a column for each field, `outer.inner` if nested, `list.0` for elements."""
    rows = [dict(_fields(record)) for record in records]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_response(columns, ([row.get(name) for name in columns] for row in rows), query, headers)


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping | list):
        yield name, value
        return
    for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _fields(inner, f"{name}.{key}" if name else str(key))


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _unchanged(value: Any) -> Any:
    return value
