"""Ids: made by the server, sortable by the time they were made."""

from ulid import ULID


def new_id(prefix: str) -> str:
    """A new id, e.g. `job_01JD3Z…`: the prefix says what it names, the ULID makes it unique."""
    return f"{prefix}_{ULID()}"
