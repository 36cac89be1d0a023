"""Datasets in JSON bodies: `columns`, `rows` or their list alone, `dataframe_split`, `inputs`, `targets`."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from service.datasets.dataset import Dataset, TabularDataset
from service.datasets.sources.json_cells import CellReader
from service.datasets.sources.json_columns import find_columns
from service.datasets.sources.json_layout import SPLIT
from service.datasets.sources.json_lines import JsonLines, LineErrors
from service.datasets.sources.json_rows import find_row_columns
from service.datasets.sources.json_split import find_split_columns
from service.datasets.sources.json_tensors import read_json_tensors
from service.datasets.validation import ErrorCollector
from service.errors import InvalidRequest, pointer_to
from service.specs.upload import ReadOptions

_FORMS = ("columns", "rows", SPLIT, "inputs")
FORMS_TEXT = f"`columns`, `rows`, `{SPLIT}` or `inputs`"


def read_json(
    document: Any,
    pointer: str = "#",
    selected: Collection[str] | None = None,
    errors: ErrorCollector | None = None,
    options: ReadOptions | None = None,
    known: Mapping[str, Collection[str]] | None = None,
    cell_errors: ErrorCollector | None = None,
) -> Dataset:
    """Read the dataset in a JSON document.

    Args:
        document: Parsed JSON: a list of rows, or an object with exactly one of `columns`, `rows`,
            `dataframe_split` or `inputs`. Of its other keys, only `targets` and `weights` beside `inputs` are
            read.
        pointer: Pointer to `document` in the request.
        selected: Names of the columns to read of a table; None: all. Other columns get null values and are
            not checked.
        errors: Errors found before in the same document; raised together with those found here.
        options: How to read the cells of a table. The cells of a column with a declared type may have several
            JSON types; of other columns, strings are read as times if all are, and otherwise are text.
        known: For a table that is sent to a model, the words for a missing value that the model knows as
            categories, by column name. Of data to train on, only null is a missing value.
        cell_errors: If given, receives the errors in cells, which are not raised; a column with errors is
            replaced by one of Arrow's type null.

    Raises:
        InvalidRequest: The document has errors; lists the first 100 and counts all.
    """
    errors = ErrorCollector() if errors is None else errors
    cells = CellReader(options or ReadOptions(), known, errors if cell_errors is None else cell_errors)
    if isinstance(document, list):
        return _read_rows(document, pointer, selected, cells, errors)
    forms = [form for form in _FORMS if form in document]
    if len(forms) != 1:
        found = " and ".join(f"`{form}`" for form in forms) or "none of them"
        detail = f"Give the data as exactly one of {FORMS_TEXT}; found {found}."
        if not forms:
            detail += ' Rows may also be sent as a list, [{"x": 1}, …].'
        errors.fail(pointer, detail)
    (form,) = forms
    content, content_pointer = document[form], pointer_to(pointer, form)
    if form == "inputs":
        return read_json_tensors(document, pointer, errors)
    if form == "rows":
        return _read_rows(content, content_pointer, selected, cells, errors)
    find = find_columns if form == "columns" else find_split_columns
    return cells.read(find(content, content_pointer, selected, errors), errors)


def _read_rows(
    rows: Any, pointer: str, selected: Collection[str] | None, cells: CellReader, errors: ErrorCollector
) -> TabularDataset:
    warnings = cells.warnings if cells.known is None else None
    if not isinstance(rows, JsonLines):
        return cells.read(find_row_columns(rows, pointer, selected, errors, warnings), errors)
    found, found_in_cells = LineErrors(rows.lines), LineErrors(rows.lines)
    dataset = None
    with suppress(InvalidRequest):  # raised below with the errors found before
        columns = find_row_columns(rows, pointer, selected, found, warnings)
        dataset = replace(cells, errors=found_in_cells).read(columns, found)
    errors.extend(found.listed)
    cells.errors.extend(found_in_cells.listed)
    errors.raise_if_any()
    assert dataset is not None
    return dataset
