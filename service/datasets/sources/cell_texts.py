"""The forms of cells in text: missing values, numbers, booleans and times, by the options of a reading."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.columns import DATETIME, NUMBER, TEXT, Column, is_in_calendar, null_unless
from service.specs.reading import CellOptions

_VARIED = ("NA", "N/A", "NaN", "null")
GAPS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            "",
            *(form for word in _VARIED for form in (word, word.lower(), word.upper(), word.title())),
            *("None", "<NA>", "#N/A", "#NA", "NaT"),
        ]
    )
)
"""Texts that mean a missing value: those that pandas, R and spreadsheets write."""

_TRUE, _FALSE = pa.array(["true", "yes", "1"], TEXT), pa.array(["false", "no", "0"], TEXT)
_UNAMBIGUOUS_BOOLEANS = pa.array(["true", "false"], TEXT)
_NUMBER_PATTERN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_INTEGER_PATTERN = r"^[+-]?\d+$"
_PADDED_PATTERN = r"^[+-]?0\d+$"
_MINUS_SIGN = "\N{MINUS SIGN}"
_MAX_INT64_DIGITS = 18  # any integer of so many digits fits into int64
_MAX_FORMATTED_BYTES = 1_000  # of the text of a number or a time
_NO_FORMAT = pa.scalar("?", TEXT)
_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?"
_ZONE = r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
_NANOSECONDS = r"(\.\d{6})\d+"
_DATETIME_PATTERN = f"^{_DATE}([T ]{_TIME}{_ZONE}?)?$"
_DAYS_OF_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
# Spaces that are used between groups of digits: no-break, narrow no-break, thin and figure space.
_SPACES = "[ \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{FIGURE SPACE}]"
_APOSTROPHES = "['\N{RIGHT SINGLE QUOTATION MARK}]"


def null_gaps(texts: Column, options: CellOptions, known: Collection[str] = ()) -> Column:
    """Replace texts that mean a missing value by null; the others are not changed.

    Args:
        texts: large_string, [rows].
        options: Has further words for a missing value.
        known: Words that are values of this column.
    """
    return null_words(texts, [word for word in (*GAPS, *options.missing) if word not in known])


def null_words(texts: Column, words: Collection[str]) -> Column:
    """Replace texts that are one of some words, apart from spaces around it, by null."""
    found = pc.is_in(pc.utf8_trim_whitespace(texts), pa.array(list(words), TEXT))
    return null_unless(pc.invert(found), texts) if pc.any(found).as_py() else texts


def trimmed(texts: Column, options: CellOptions) -> Column:
    """Replace texts that mean a missing value by null, and trim the others, to compare them with formats.

    A text too long for a number or a time is replaced by a short one that has no format either: there are
    many formats, and a text may have megabytes.
    """
    present = pc.utf8_trim_whitespace(null_gaps(texts, options))
    is_long = pc.greater(pc.binary_length(present), _MAX_FORMATTED_BYTES)
    return pc.if_else(is_long, _NO_FORMAT, present) if pc.any(is_long).as_py() else present


def are_numbers(texts: Column) -> Column:
    """Return a mask of the trimmed texts that are decimal numbers, bool [rows]."""
    return pc.match_substring_regex(texts, _NUMBER_PATTERN)


def are_integers(texts: Column) -> Column:
    """Return a mask of the trimmed texts that are decimal integers, bool [rows]."""
    return pc.match_substring_regex(texts, _INTEGER_PATTERN)


def are_padded(texts: Column) -> Column:
    """Return a mask of the trimmed texts that are integers with leading zeros, like `00012`, bool [rows]."""
    return pc.match_substring_regex(texts, _PADDED_PATTERN)


def fit_int64(integers: Column) -> bool:
    """Return whether all of the texts of integers are in the range of int64."""
    digits = pc.max(pc.utf8_length(integers)).as_py() or 0
    if digits <= _MAX_INT64_DIGITS:
        return True
    try:
        integers.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def plain_numbers(texts: Column, options: CellOptions) -> Column:
    """Rewrite trimmed texts of numbers in the form of JSON, with an optional plus sign.

    Returns:
        large_string, [rows]; texts that are not numbers of the options' form are not numbers afterwards
        either.
    """
    if pc.any(pc.match_substring(texts, _MINUS_SIGN)).as_py():
        texts = pc.replace_substring_regex(texts, f"^{_MINUS_SIGN}", "-")
    if options.reads_plain_numbers:
        return texts
    for unit in map(_escape, options.units):
        texts = pc.replace_substring_regex(texts, rf"^([+-]?)\s*(?:{unit})\s*([+-]?)", r"\1\2")
        texts = pc.replace_substring_regex(texts, rf"\s*(?:{unit})$", "")
    if options.decimal == "," or options.thousands is not None:
        texts = _without_groups(texts, options)
    if options.percent:
        # In the text, since a division would round a second time.
        texts = pc.replace_substring_regex(texts, r"^([+-]?[\d.]*\d\.?)\s*%$", r"\1e-2")
    return texts


def _without_groups(texts: Column, options: CellOptions) -> Column:
    """Remove the signs between groups of three digits, and write a decimal point."""
    sign = rf"\{options.decimal}"
    whole = r"\d+"
    if options.thousands is not None:
        group = {" ": _SPACES, "'": _APOSTROPHES}.get(options.thousands, _escape(options.thousands))
        whole = rf"\d+|\d{{1,3}}(?:{group}\d{{3}})+"
    form = rf"^[+-]?(?:(?:{whole})(?:{sign}\d*)?|{sign}\d+)(?:[eE][+-]?\d+)?\s*%?$"
    has_form = pc.match_substring_regex(texts, form)
    plain = texts
    if options.thousands is not None:
        plain = pc.replace_substring_regex(plain, group, "")
    if options.decimal == ",":
        plain = pc.replace_substring(plain, ",", ".")
    # A text of another form must not become a number by a change of its signs: `1,5` with thousands.
    return pc.if_else(has_form, plain, _NO_FORMAT)


def _escape(text: str) -> str:
    """Quote a text for RE2, whose escapes are those of ASCII punctuation only."""
    return "".join(f"\\{each}" if each.isascii() and not each.isalnum() else each for each in text)


def are_booleans(texts: Column) -> Column:
    """Return a mask of the trimmed texts that are `true` or `false`, in any case, bool [rows]."""
    return pc.is_in(pc.utf8_lower(texts), _UNAMBIGUOUS_BOOLEANS)


def to_booleans(texts: Column) -> Column:
    """Parse trimmed texts as booleans: true/false, yes/no or 1/0 (also 1.0/0.0); null for other texts."""
    # `1.0` is how a column of floats writes 1.
    lower = pc.replace_substring_regex(pc.utf8_lower(texts), r"^([01])\.0*$", r"\1")
    true = pc.is_in(lower, _TRUE)
    return null_unless(pc.or_(true, pc.is_in(lower, _FALSE)), true)


def to_times(texts: Column, options: CellOptions) -> Column:
    """Parse trimmed texts as times in UTC, by ISO 8601 or else a format of the options; null for others.

    Digits after microseconds are cut off.
    """
    times = _from_iso(texts)
    for pattern in options.dates:
        if times.null_count == texts.null_count:
            break
        times = pc.coalesce(times, from_format(texts, pattern))
    return times


def _from_iso(texts: Column) -> Column:
    candidates = null_unless(pc.match_substring_regex(texts, _DATETIME_PATTERN), texts)
    candidates = null_unless(_have_valid_day(candidates), candidates)
    candidates = pc.replace_substring_regex(candidates, _NANOSECONDS, r"\1")
    # Arrow's cast requires that all texts have an offset, or that none has.
    zoned = pc.match_substring_regex(candidates, f":[^ ]*{_ZONE}$")
    times = pc.coalesce(
        null_unless(zoned, candidates).cast(pa.timestamp("us", "UTC")).cast(DATETIME),
        null_unless(pc.invert(zoned), candidates).cast(DATETIME),
    )
    return null_unless(is_in_calendar(times), times)


def _have_valid_day(texts: Column) -> pa.Array:
    """Return a mask of the texts whose date exists (not 30 February); each starts with a date or is null."""
    dates = texts.fill_null("2000-01-01")
    year, month, day = (
        pc.utf8_slice_codeunits(dates, start, stop).cast(pa.int64()).to_numpy()
        for start, stop in ((0, 4), (5, 7), (8, 10))
    )
    is_leap_year = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return pa.array(day <= _DAYS_OF_MONTH[month] + (is_leap_year & (month == 2)))


def from_format(texts: Column, pattern: str) -> Column:
    """Parse trimmed texts as times in UTC by one format of strptime; null for texts of another form."""
    times = pc.strptime(texts, format=pattern, unit="us", error_is_null=True)
    times = null_unless(is_in_calendar(times), times)
    if "%Y" in pattern:  # strptime also accepts `24` for the year 24
        times = null_unless(pc.greater_equal(pc.year(times), 1000), times)
    # strptime accepts 31 February as 2 March: what it read must give the same text again.
    written = pc.strftime(times.cast(pa.timestamp("s")), format=pattern)  # without fractions of a second
    same = pc.equal(_comparable(written), _comparable(texts))
    return null_unless(same, times)


def _comparable(texts: Column) -> Column:
    """Lower-case texts, without padding of numbers and in the short form of the months' names."""
    short = pc.replace_substring_regex(pc.utf8_lower(texts), r"([a-z]{3})[a-z]*", r"\1")
    return pc.replace_substring_regex(short, r"(^|[^\d])0+(\d)", r"\1\2")


def numbers_of(words: Collection[str]) -> list[float]:
    """Return the words that are numbers, as numbers."""
    texts = pa.array(list(words), TEXT)
    numbers: list[float] = null_unless(are_numbers(texts), texts).drop_null().cast(NUMBER).to_pylist()
    return numbers
