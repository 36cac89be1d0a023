"""Quick reading of rows that are plain numbers, the usual body of a prediction.

A number in JSON is its own value in a numeric column, whatever the reading options. So a body of nothing but
numbers, for a model whose features are numeric, needs neither the readers of cells nor an Arrow table.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from service.datasets.dataset import TensorDataset
from service.datasets.prepare.encoding import Encoding

# float64 represents every integer of a smaller magnitude exactly.
_MAX_EXACT_INTEGER = 2**53
_NUMBERS = {int, float}


def read_numbers(encoding: Encoding, body: Any) -> TensorDataset | None:
    """Read the rows of a prediction.

    Args:
        encoding: Encoding of the job that trained the model.
        body: A dataset, or JSON in a form of `read_json`.

    Returns:
        The features by name, float64 [n]; None if the body is to be read cell by cell: something in it is not
        a number, columns are missing or unknown, or the model needs more than numbers.
    """
    names = encoding.number_columns
    if not names:
        return None
    rows = _cells(names, body, has_one_input=len(encoding.groups) == 1)
    if not rows or set(map(len, rows)) != {len(names)}:
        return None
    types = set(map(type, chain.from_iterable(rows)))
    if not types <= _NUMBERS:
        return None
    try:
        values = np.array(rows, np.float64)  # [n, k]
    except OverflowError:  # an integer beyond a double
        return None
    if int in types and np.abs(values).max() >= _MAX_EXACT_INTEGER:
        return None
    return TensorDataset(dict(zip(names, values.T, strict=True)))


def _cells(names: Sequence[str], body: Any, has_one_input: bool) -> Sequence[Sequence[Any]] | None:
    """Return the cells of a body by row; None if its form is none of `inputs`, `columns` and `rows`."""
    form, content = "rows", body
    if isinstance(body, dict) and len(body) == 1:
        ((form, content),) = body.items()
    if form == "inputs" and has_one_input:
        return content if _are_all(list, content) else None
    if form == "rows":
        return [[row[name] for name in names] for row in content] if _have_keys(names, content) else None
    if form == "columns" and isinstance(content, dict) and content.keys() == {*names}:
        columns = [content[name] for name in names]
        if _are_all(list, columns) and len(set(map(len, columns))) == 1:
            return [*zip(*columns, strict=True)]
    return None


def _are_all(kind: type, values: Any) -> bool:
    return type(values) is list and set(map(type, values)) == {kind}


def _have_keys(names: Sequence[str], rows: Any) -> bool:
    keys = {*names}
    return _are_all(dict, rows) and all(row.keys() == keys for row in rows)
