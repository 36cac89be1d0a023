"""Ids chosen by the service, sortable by time of creation."""

from ulid import ULID


def new_id(prefix: str) -> str:
    """Return a new id: the prefix and a ULID, e.g. `job_01JD3Z…`."""
    return f"{prefix}_{ULID()}"
