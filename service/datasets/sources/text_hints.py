"""Texts that look like numbers or dates in another format, and the option that reads them."""

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow.compute as pc

from service.datasets.sources import cell_texts
from service.datasets.sources.columns import Column
from service.specs.reading import CellOptions

# Texts that often stand for a missing value, besides those that always do.
_LIKELY_GAPS = ("-", "--", "?", ".", "*", "none", "missing", "unknown", "#DIV/0!", "#VALUE!", "#REF!", "nil")
_DATE_FORMATS = (
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y.%m.%d",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%b %d %Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
)
_TIME_FORMATS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
COMPACT_DATE = "%Y%m%d"
_NUMBER_FORMATS = (
    CellOptions(thousands=","),
    CellOptions(decimal=","),
    CellOptions(thousands=" "),
    CellOptions(thousands="'"),
    CellOptions(decimal=",", thousands="."),
    CellOptions(decimal=",", thousands=" "),
    CellOptions(percent=True),
    CellOptions(decimal=",", percent=True),
)
PADDED = "numbers with leading zeros, which would be lost"
# A symbol, or the letters of a currency before a space: `USD 1`.
_UNIT = r"[$€£¥₹₽₩₺]|R\$|[A-Z]{3}\s|kr\.?\s|Rs\.?\s"
_AFFIXED_NUMBER = r"[+-]?[\d.,' ]*\d[.]?"
_AFFIXED = rf"^[+\-−]?\s*(?P<before>(?:{_UNIT})?)\s*{_AFFIXED_NUMBER}\s*(?P<after>[^\d\s.,%+\-−'_]{{0,4}})$"


class TextHint(NamedTuple):
    """Another format that all texts of a column have.

    Attributes:
        looks: What they look like, as the end of a sentence ("numbers with a decimal comma").
        query: The options of an upload that read them, as a query.
        fields: The same as fields of `data.reading`, as JSON members.
        type_name: The type that the column then has; empty if no option reads them.
    """

    looks: str
    query: str
    fields: str
    type_name: str


def explain_texts(texts: Column, options: CellOptions, column: Column | None = None) -> TextHint | None:
    """Find the options by which all texts of a column would be numbers or times.

    Args:
        texts: large_string, [rows]; some rows are enough for a hint.
        options: The options by which they were read.
        column: The whole column, by which formats of dates are chosen that all of `texts` have, such as
            `%m/%d/%Y` and `%d/%m/%Y`.

    Returns:
        None if the texts look like neither.
    """
    present = cell_texts.trimmed(texts, options).drop_null()
    if not len(present):
        return None
    plain = cell_texts.plain_numbers(present, options)
    if _all(cell_texts.are_numbers(plain)):
        return _explain_numbers(plain)
    if _all(pc.match_substring_regex(present, _HEXADECIMAL)):
        return TextHint(
            "hexadecimal numbers; convert them to decimal ones if they are quantities", "", "", ""
        )
    # A table has one format of numbers.
    numbers = list(_number_hints(present)) if options.reads_plain_numbers else []
    if numbers:
        return _either(numbers)
    return _accounting_hint(present) or _date_hint(present, column)


def _accounting_hint(present: Column) -> TextHint | None:
    """Explain numbers of which those in parentheses are negative."""
    bare = pc.replace_substring_regex(present, r"^\((.*)\)$", r"\1")
    if _all(pc.equal(bare, present)):
        return None
    if not _all(cell_texts.are_numbers(bare)) and next(_number_hints(bare), None) is None:
        return None
    looks = "numbers of which negative ones are in parentheses; write these with a minus sign to read them so"
    return TextHint(looks, "", "", "")


def _either(hints: list["TextHint"]) -> "TextHint":
    """Return the first hint; it says so if another one, of as few options, reads other numbers."""
    first = hints[0]
    others = [hint for hint in hints[1:] if hint.query.count("=") == first.query.count("=")]
    if not others:
        return first
    return first._replace(looks=f"{first.looks}, or {others[0].looks} (`{others[0].query}`)")


def _all(mask: Column) -> bool:
    return bool(pc.all(mask).as_py())


def _explain_numbers(plain: Column) -> TextHint:
    """Explain why texts that are numbers are not read as numbers."""
    looks = "numbers"
    if pc.any(cell_texts.are_padded(plain)).as_py():
        looks = PADDED
    elif _all(cell_texts.are_integers(plain)) and not cell_texts.fit_int64(plain):
        looks = "integers beyond 64 bits, which would be rounded"
    return TextHint(looks, "", "", "numeric")


def _number_hints(present: Column) -> Iterator[TextHint]:
    for options in _NUMBER_FORMATS:
        if _all(cell_texts.are_numbers(cell_texts.plain_numbers(present, options))):
            yield _number_hint(options)
    first = pc.extract_regex(present.slice(0, 1), pattern=_AFFIXED)[0].as_py()
    unit = "" if first is None else (first["before"] or first["after"]).strip()
    if unit:
        for options in (CellOptions(), *_NUMBER_FORMATS):
            with_unit = options.model_copy(update={"units": [unit]})
            if _all(cell_texts.are_numbers(cell_texts.plain_numbers(present, with_unit))):
                yield _number_hint(with_unit)


_NAMES = {",": "comma", ".": "point", " ": "space", "'": "apostrophe"}
_HEXADECIMAL = r"^0[xX][0-9a-fA-F]+$"


def _number_hint(options: CellOptions) -> TextHint:
    words = [f"a decimal {_NAMES[options.decimal]}"] if options.decimal != "." else []
    if options.thousands is not None:
        words.append(f"thousands separated by a {_NAMES[options.thousands]}".replace("a a", "an a"))
    if options.percent:
        words.append("a per cent sign")
    words += [f"`{unit}`" for unit in options.units]
    members = options.model_dump(exclude_defaults=True, exclude={"units"})
    query = [f"{name}={_in_query(value)}" for name, value in members.items()]
    query += [f"units={_in_query(unit)}" for unit in options.units]
    document = options.model_dump_json(exclude_defaults=True)[1:-1]
    return TextHint(f"numbers with {' and '.join(words)}", "&".join(query), document, "numeric")


def _in_query(value: object) -> str:
    text = {True: "true"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return text.replace("%", "%25").replace(" ", "%20").replace("&", "%26").replace("+", "%2B")


def _date_hint(present: Column, column: Column | None) -> TextHint | None:
    fitting = [
        date + time
        for date in _DATE_FORMATS
        for time in _TIME_FORMATS
        if _are_times(present.slice(0, 1), date + time) and _are_times(present, date + time)
    ]
    if not fitting:
        return None
    if len(fitting) > 1 and column is not None:  # a later date may decide the order of day and month
        distinct = cell_texts.trimmed(column.unique(), CellOptions()).drop_null()
        fitting = [pattern for pattern in fitting if _are_times(distinct, pattern)] or fitting
    choice = " or ".join(f"`{pattern}`" for pattern in fitting)
    looks = f"dates in the format {choice}"
    query = f"dates={_in_query(fitting[0])}"
    return TextHint(looks, query, f'"dates":["{fitting[0]}"]', "datetime")


def _are_times(texts: Column, pattern: str) -> bool:
    return _all(cell_texts.from_format(texts, pattern).is_valid())


def likely_gaps(texts: Column) -> list[str]:
    """Return the different texts if there are at most three that may stand for a missing value."""
    found = [text for text in pc.unique(pc.utf8_trim_whitespace(texts)).to_pylist() if text is not None]
    return found if 0 < len(found) <= 3 and all(text in _LIKELY_GAPS for text in found) else []
