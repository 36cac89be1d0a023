"""Page tokens of lists."""

from hypothesis import given
from hypothesis import strategies as st

from service.api.http.page_tokens import page_token, position_of
from tests.support.field_errors import refusal


def is_refused(collection: str, token: str) -> bool:
    """Return whether a token is refused, with a pointer to the query parameter."""
    return list(refusal(lambda: position_of(collection, token, str))) == ["?page_token"]


@given(st.text())
def test_a_token_is_one_of_its_list(position: str) -> None:
    """A position is restored from its token by the list that made it, and by no other."""
    token = page_token("jobs", position)
    assert position_of("jobs", token, str) == position
    assert is_refused("datasets", token)


@given(st.text())
def test_any_other_text_is_refused(token: str) -> None:
    """Any text that is no token is refused."""
    assert is_refused("jobs", token)


@given(st.data())
def test_an_altered_token_is_refused(data: st.DataObject) -> None:
    """A token that lost its end, or has another character, is refused."""
    token = page_token("jobs", "1796040000000000,job_01JD3Z")
    end = data.draw(st.integers(1, len(token) - 1))
    other = data.draw(st.sampled_from("Ab0-_=,").filter(lambda each: each != token[end]))
    assert is_refused("jobs", token[:end])
    assert is_refused("jobs", token[:end] + other + token[end + 1 :])
    assert is_refused("jobs", token + other)


def test_a_position_that_cannot_be_parsed_is_refused() -> None:
    """A made-up token with a correct checksum is refused if its position is none."""
    assert list(refusal(lambda: position_of("jobs", page_token("jobs", "x"), int))) == ["?page_token"]
