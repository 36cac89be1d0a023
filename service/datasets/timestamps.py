"""Times of datetime columns in JSON."""

from datetime import UTC, datetime


def rfc3339(time: datetime | None) -> str | None:
    """Format a naive time in UTC by RFC 3339, with microseconds and `Z`; None stays None."""
    return None if time is None else f"{time.isoformat(timespec='microseconds')}Z"


def parse_time(text: str) -> datetime:
    """Parse a date or time of ISO 8601 as a naive time in UTC; without an offset it is in UTC.

    Raises:
        ValueError: It is not one, or outside the years 1 to 9999.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        return time
    try:
        return time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("The time is outside the years 1 to 9999.") from None
