"""Cursors of lists as text."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.storage.pages import Cursor


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(3000, 1, 1)))
def test_a_cursor_is_restored_from_its_text(moment: datetime) -> None:
    """A cursor is restored from its text, with microseconds."""
    cursor = Cursor(moment.replace(tzinfo=UTC), "job_01JD3Z")
    assert Cursor.parse(str(cursor)) == cursor
