"""Nanoseconds of times: they are cut off, since a datetime column has microseconds."""

import pyarrow as pa
import pyarrow.compute as pc

from service.datasets.sources.columns import Column, is_text

_PER_MICROSECOND = 1000
# Digits after the sixth of a second's fraction, not all of them zero.
_FRACTION = r":\d\d\.\d{6}\d*[1-9]"


def has_nanoseconds(column: Column) -> bool:
    """Return whether times would lose nanoseconds as a datetime column.

    Args:
        column: Times as they were sent: of any Arrow type, or as text, [rows].
    """
    if pa.types.is_dictionary(column.type):
        return has_nanoseconds(column.cast(column.type.value_type))
    if is_text(column.type):
        return bool(pc.any(pc.match_substring_regex(column, _FRACTION)).as_py())
    if not pa.types.is_timestamp(column.type) or column.type.unit != "ns":
        return False
    counts = column.cast(pa.int64())
    whole = pc.multiply(pc.divide(counts, _PER_MICROSECOND), _PER_MICROSECOND)
    return bool(pc.any(pc.not_equal(counts, whole)).as_py())


def nanoseconds_warning(name: str) -> str:
    """Return the warning of a column whose nanoseconds are cut off."""
    return (
        f"`{name}` has times with nanoseconds, which are cut off: times have microseconds. To keep the "
        f"digits as text, upload with `types={name}:categorical`."
    )
