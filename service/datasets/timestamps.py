"""Times of datetime columns in JSON."""

from datetime import datetime


def rfc3339(time: datetime | None) -> str | None:
    """Format a naive time in UTC by RFC 3339, with microseconds and `Z`; None stays None."""
    return None if time is None else f"{time.isoformat(timespec='microseconds')}Z"
