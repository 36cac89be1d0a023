"""The page of losses."""

from service.training.losses import LOSSES
from tests.support.repository import ROOT


def test_the_table_has_every_loss() -> None:
    """The table of conventions has a row for each supported loss."""
    page = (ROOT / "docs/reference/losses.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == [*LOSSES]
