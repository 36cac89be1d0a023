"""Text in CSV that spreadsheets would run as a formula.

Source: OWASP, "CSV Injection", https://owasp.org/www-community/attacks/CSV_Injection.
"""

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Spreadsheets in some languages read the full-width forms alike.
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_START_PATTERN = rf"^([{re.escape(''.join(_STARTS))}])"
# What also gets an apostrophe where it should be possible to remove it again: a name that seems to have one.
_ESCAPED = re.compile(rf"'+[{re.escape(''.join(_STARTS))}]")


def without_formula(cell: Any) -> Any:
    """Return a cell or a name; text that spreadsheets would run gets a leading apostrophe, numbers never."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS) else cell


def name_without_formula(name: str) -> str:
    """Return a column name as `without_formula` does, so that `with_formula` returns the name again."""
    return f"'{name}" if _ESCAPED.match(f"'{name}") else name


def with_formula(name: str) -> str:
    """Return a column name without the apostrophe that `name_without_formula` adds."""
    return name[1:] if _ESCAPED.match(name) else name


def without_formulas(texts: pa.Array) -> pa.Array:
    """Return texts, large_string [rows], those that spreadsheets would run with a leading apostrophe."""
    return pc.replace_substring_regex(texts, _START_PATTERN, r"'\1")
