"""Cursors of lists as page tokens."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from service.storage.pages import Cursor
from tests.support.field_errors import refusal


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(3000, 1, 1)))
def test_a_token_encodes_its_cursor(moment: datetime) -> None:
    """A cursor is restored from its token, with microseconds."""
    cursor = Cursor(moment.replace(tzinfo=UTC), "job_01JD3Z")
    assert Cursor.of_token(cursor.token()) == cursor


@given(st.text())
def test_any_other_text_is_an_error_with_a_pointer(token: str) -> None:
    """Any text that is no token is refused with a pointer to the query parameter."""
    assert list(refusal(lambda: Cursor.of_token(token))) == ["?page_token"]
