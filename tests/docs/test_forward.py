"""The page docs/forward.md."""

from service.architectures.text.reference import reference
from tests.support.repository import ROOT


def test_the_page_of_the_grammar_is_up_to_date() -> None:
    """The page equals the one generated from the tables of the grammar."""
    page = (ROOT / "docs" / "forward.md").read_text()
    assert page == reference(), "docs/forward.md is out of date: run `make docs`."
