"""Times of a datetime column, as JSON has them."""

from datetime import datetime


def rfc3339(time: datetime | None) -> str | None:
    """A naive time in UTC after RFC 3339, with microseconds and `Z`."""
    return None if time is None else f"{time.isoformat(timespec='microseconds')}Z"
